"""The audit finds planted faults, and reports nothing about correct labels."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from softpoint.audit import Report, audit_labels, unlabeled_images
from softpoint.audit.coordinate_conventions import CONVENTIONS, convention_findings, convention_scores
from softpoint.audit.images import image_findings
from softpoint.audit.pose import pose_findings
from softpoint.audit.pose_model import PoseModel, fit
from softpoint.images import ImageFolder
from softpoint.images.decode import read_image
from softpoint.images.scan import Scan, scan
from softpoint.labels.formats import read_labels
from softpoint.labels.load import LoadedLabels
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton

NAMES = ("nose", "left_ear", "right_ear", "tail")
SKELETON = Skeleton(NAMES, (("left_ear", "right_ear"),))
SETS = ("mirror-mouse", "dlc-openfield", "fly-wing", "ultrasound-tongue", "glue-tubes-single")
PAWS = tuple(
    (f"paw{a}_{view}", f"paw{b}_{view}") for view in ("top", "bot") for a, b in (("2LF", "3RF"), ("1LH", "4RH"))
)


def moved(labels: Labels, keypoints: np.ndarray) -> Labels:
    """Return the labels with other coordinates, NaN if unlabeled."""
    states = np.where(np.isfinite(keypoints).all(2), 2, 0)
    rows = zip(labels.subjects, keypoints, states, strict=True)
    return replace(labels, subjects=tuple(replace(s, keypoints=p, visibility=v) for s, p, v in rows))


def animals(count: int = 80, seed: int = 0) -> np.ndarray:
    """Return poses (N, 4, 2): nose, ears and tail of an animal in any direction, within 10 to 190."""
    rng = np.random.default_rng(seed)
    shape = np.array([[14.0, 0.0], [6.0, -8.0], [6.0, 8.0], [-22.0, 0.0]])
    angle, center = rng.uniform(0, 2 * np.pi, count), rng.uniform(40, 160, (count, 1, 2))
    rotation = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(-1, 2, 2)
    return shape @ rotation.transpose(0, 2, 1) + center + rng.normal(0, 0.7, (count, 4, 2))


def labeled(poses: np.ndarray, source: str = "made") -> Labels:
    subjects = [Subject(f"{i:03}.png", f"line {i + 2}", p, np.full(4, 2)) for i, p in enumerate(poses)]
    return Labels(source, ".", SKELETON, tuple(subjects))


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Labels, ImageFolder]:
    """Return forty images of such animals on a textured floor."""
    folder, poses = tmp_path_factory.mktemp("painted"), animals(40)
    rng = np.random.default_rng(1)
    for i, pose in enumerate(poses):
        image = cv2.GaussianBlur(rng.uniform(60, 160, (200, 220)).astype(np.float32), (0, 0), 2)
        image = np.repeat(image[..., None], 3, axis=2).astype(np.uint8)
        head, tail = np.round(pose[0]).astype(int), np.round(pose[3]).astype(int)
        cv2.line(image, head.tolist(), tail.tolist(), (20, 20, 20), 7)
        parts = zip(np.round(pose).astype(int).tolist(), (5, 4, 4, 3), (255, 230, 230, 0), strict=True)
        for (x, y), radius, level in parts:
            cv2.circle(image, (x, y), radius, (level,) * 3, -1)
        cv2.imwrite(str(folder / f"{i:03}.png"), image)
    return labeled(poses), ImageFolder(folder)


def audit(labels: Labels, images: ImageFolder, scans: Sequence[Scan] | None = None, **more: Any) -> Report:
    scans = scan(images, labels.images) if scans is None else scans
    sizes, by_image = np.array([scan.size for scan in scans]), {scan.image: scan for scan in scans}
    return audit_labels(LoadedLabels(labels, sizes, None, images, by_image, RowErrors("made")), **more)


def kinds(report: Report) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.findings}


class CachedFolder(ImageFolder):
    """Images that are decoded once for all tests."""

    def read(self, image: str) -> np.ndarray:
        return decoded(self.path(image))


decoded = cache(read_image)


def real(data_root: Path, name: str, most: int = 150) -> tuple[Labels, ImageFolder]:
    labels = read_labels(data_root / "keypoints" / "labels" / f"{name}.csv")
    labels = labels.select(range(0, len(labels), max(1, len(labels) // most)))
    return labels, CachedFolder(data_root / "keypoints" / name.removesuffix("-single"))


def planted_swaps(labels: Labels, share: float, seed: int) -> tuple[Labels, dict[int, set[int]]]:
    """Return labels with a flip pair exchanged in a share of the subjects, and the exchanged points by subject."""
    rng, points, planted = np.random.default_rng(seed), labels.keypoints.copy(), {}
    pairs = [tuple(map(labels.skeleton.index, pair)) for pair in labels.skeleton.flip_pairs]
    for i in rng.choice(len(labels), round(share * len(labels)), replace=False).tolist():
        usable = [pair for pair in pairs if np.isfinite(points[i, list(pair)]).all()]
        a, b = usable[rng.integers(len(usable))]
        points[i, [a, b]] = points[i, [b, a]]
        planted[i] = {a, b}
    return moved(labels, points), planted


def swaps_in(labels: Labels) -> dict[int, set[int]]:
    examples = [e for f in pose_findings(labels) if f.kind == "left_right_swap" for e in f.examples]
    return {e.subject: set(e.keypoints) for e in examples if e.subject is not None}


def test_images_that_were_extracted_again_are_found(tmp_path: Path) -> None:
    source = tmp_path / "labels.csv"
    source.write_text("")
    labels = labeled(animals(10), str(source))
    for image in labels.images:
        Image.new("L", (4, 4)).save(tmp_path / image)
    folder = ImageFolder(tmp_path)

    def images_of(count: int) -> list[str]:
        for image in labels.images[:count]:
            os.utime(tmp_path / image, (0, source.stat().st_mtime + 7200))
        findings = image_findings(labels, folder, scan(folder, labels.images), [], {}, "error")
        return [example.image for f in findings if f.kind == "replaced" for example in f.examples]

    assert images_of(0) == [] and images_of(2) == ["000.png", "001.png"]
    assert images_of(6) == []  # a set that was copied


def test_correct_labels_give_no_findings(painted: tuple[Labels, ImageFolder]) -> None:
    report = audit(*painted, splits={"train": range(30), "test": range(30, 40)})
    assert report.findings == [] and not report.has_errors
    assert (report.subjects, report.images, report.unlabeled) == (40, 40, 0)
    assert report.sizes == {"220x200": 40} and report.splits == {"train": 30, "test": 10}
    assert [tuple(counts) for counts in report.keypoints] == [(name, 40, 0, 0, 0) for name in NAMES]


def test_a_report_is_json_with_documented_keys(painted: tuple[Labels, ImageFolder]) -> None:
    labels, images = painted
    points = labels.keypoints.copy()
    points[3, 0] = 500, 20
    stored = json.loads(json.dumps(audit(moved(labels, points), images).to_dict()))
    assert set(stored) == {
        "version", "source", "subjects", "images", "unlabeled", "sizes", "keypoints", "mirroring", "splits",
        "has_errors", "findings",
    }  # fmt: skip
    outside = stored["findings"][0]
    assert set(outside) == {"kind", "severity", "message", "advice", "count", "examples"}
    assert outside["kind"] == "out_of_frame" and outside["count"] == 1 and stored["has_errors"] is True
    assert outside["examples"] == [{"image": "003.png", "place": "line 5", "value": "nose at (500, 20)"}]
    assert stored["keypoints"][0] == {"name": "nose", "labeled": 40, "occluded": 0, "missing": 0, "out_of_frame": 1}


def test_faults_of_coordinates_are_found(painted: tuple[Labels, ImageFolder]) -> None:
    labels, images = painted
    points = labels.keypoints.copy()
    points[0, 1] = 0, 0
    points[1, 2] = points[1, 3]
    points[5:11, 0] = 77.25, 80.5
    points[:, 3] = np.where(np.arange(40)[:, None] < 2, points[:, 3], np.nan)
    changed = moved(labels, points)
    changed = replace(changed, skeleton=SKELETON, subjects=(*changed.subjects, changed.subjects[20]))
    changed = replace(changed, subjects=tuple(replace(s, place=f"row {i}") for i, s in enumerate(changed.subjects)))
    report = audit(changed, images)
    by_kind = {finding.kind: finding for finding in report.findings}
    assert {"at_origin", "coincident", "constant", "repeated_subject"} <= set(by_kind)
    assert by_kind["at_origin"].examples[0].value == "left_ear at (0, 0)"
    assert by_kind["coincident"].examples[0].keypoints == (2, 3) and by_kind["coincident"].count == 1
    assert "(77.25, 80.5) in 6 of 41" in by_kind["constant"].examples[0].value
    assert by_kind["repeated_subject"].examples[0].place == "row 40" and by_kind["repeated_subject"].severity == "error"


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e300])
@pytest.mark.parametrize("count", [1, 40])
def test_absurd_labels_of_missing_images_do_not_raise(count: int, scale: float) -> None:
    points = scale * np.random.default_rng(0).normal(size=(count, 4, 2))
    names = ["../out.png", "nul\0.png", "x" * 400, ""]
    subjects = [
        replace(s, image=names[i % 4], box=(0.0, 0.0, 0.0, 0.0), crowd=i % 3 == 0)
        for i, s in enumerate(labeled(points).subjects)
    ]
    labels = replace(labeled(points), subjects=tuple(subjects))
    report = audit(labels, ImageFolder(Path("nowhere")))
    assert unlabeled_images(labels, ImageFolder(Path("nowhere"))) == []
    assert kinds(report)["unreadable"] == min(count, 4) and json.dumps(report.to_dict())


def test_duplicate_images_with_several_subjects(painted: tuple[Labels, ImageFolder]) -> None:
    labels, images = painted
    first, second, third = (labels.subjects[i] for i in (0, 1, 2))
    both = [replace(first, place="a"), replace(second, image=first.image, place="b")]
    copy = [replace(s, image=f"./copies/../{s.image}") for s in both]  # another spelling is the same image
    assert kinds(audit(replace(labels, subjects=(*both, *copy)), images)) == {"repeated_subject": 2}
    scans = scan(images, [s.image for s in (*both, third, third)])
    here = [s._replace(digest=scans[0].digest, image=s.image) for s in scans]
    other_order = [replace(third, keypoints=both[1].keypoints), replace(third, keypoints=both[0].keypoints)]
    report = audit(replace(labels, subjects=(*both, *other_order)), images, here)
    assert kinds(report) == {"duplicate": 1}
    report = audit(replace(labels, subjects=(*both, other_order[0])), images, here[:3])
    assert report.findings[0].examples[0].value == "1 subjects, 2 in 000.png"


def test_faults_of_boxes_are_found(painted: tuple[Labels, ImageFolder]) -> None:
    labels, images = painted
    around = [(*(s.keypoints.min(0) - 2), *(s.keypoints.max(0) + 2)) for s in labels.subjects]
    boxed = [replace(s, box=box) for s, box in zip(labels.subjects, around, strict=True)]
    assert audit(replace(labels, subjects=tuple(boxed)), images).findings == []
    boxed[4] = replace(boxed[4], box=(0.0, 0.0, 9.0, 9.0))
    nothing = {"keypoints": np.full((4, 2), np.nan), "visibility": np.zeros(4, int)}
    boxed[6], boxed[7] = replace(boxed[6], **nothing), replace(boxed[7], **nothing, crowd=True)
    report = audit(replace(labels, subjects=tuple(boxed)), images)
    examples = {f.kind: [e.subject for e in f.examples] for f in report.findings}
    assert examples["outside_box"] == [4] and examples["empty_box"] == [6]


def test_fractions_and_keypoints_that_are_never_labeled_are_found(painted: tuple[Labels, ImageFolder]) -> None:
    labels, images = painted
    points = labels.keypoints / [220, 200]
    points[:, 3] = np.nan
    points[7] = np.nan
    report = audit(moved(labels, points), images)
    assert kinds(report)["fractions"] == 39 and report.has_errors
    assert [e.value for f in report.findings if f.kind == "never_labeled" for e in f.examples] == ["tail"]
    assert report.unlabeled == 1 and report.keypoints[3][1:] == (0, 0, 40, 0)


def test_damaged_duplicate_rotated_and_resized_images_are_found(
    painted: tuple[Labels, ImageFolder], tmp_path: Path
) -> None:
    labels, images = painted
    for image in labels.images:
        (tmp_path / image).write_bytes((images.folder / image).read_bytes())
    (tmp_path / "000.png").write_bytes((tmp_path / "000.png").read_bytes()[:900])
    (tmp_path / "001.png").unlink()
    for copy, original in (("011.png", "010.png"), ("031.png", "030.png"), ("beside.png", "020.png")):
        (tmp_path / copy).write_bytes((tmp_path / original).read_bytes())
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(images.folder / "015.png").save(tmp_path / "015.png", exif=exif)
    (tmp_path / "alone.png").write_bytes(b"no image")
    points = labels.keypoints.copy()
    points[31] = points[30]
    changed = moved(labels, points)
    sized = [replace(s, size=(200, 220) if i != 25 else (220, 200)) for i, s in enumerate(changed.subjects)]
    changed, here = replace(changed, subjects=tuple(sized)), ImageFolder(tmp_path)
    others = unlabeled_images(changed, here)
    assert others == ["alone.png", "beside.png"]
    splits = {"train": [i for i in range(40) if i != 31], "test": [31]}
    report = audit(changed, here, splits=splits, others=scan(here, others))
    images_of = {f.kind: [e.image for e in f.examples] for f in report.findings}
    assert images_of["unreadable"] == ["000.png", "001.png"] and images_of["exif"] == ["015.png"]
    assert images_of["size_mismatch"] == ["025.png"]
    assert images_of["duplicate"] == images_of["split_duplicate"] == ["031.png"]
    assert images_of["duplicate_labels_differ"] == ["011.png"]
    assert images_of["unlabeled_duplicate"] == ["beside.png"] and images_of["unlabeled"] == ["alone.png"]
    assert report.has_errors and report.sizes == {"220x200": 37, "unknown": 3}
    skipped = audit(changed, here, on_error="skip")
    assert not skipped.has_errors and kinds(skipped)["unreadable"] == 2


def test_a_fit_without_missing_values_is_the_sample_covariance() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 6)) @ np.random.default_rng(1).normal(size=(6, 6))
    mean, covariance = fit(rows, np.ones(500, bool))
    np.testing.assert_allclose(mean, rows.mean(0))
    expected = np.cov(rows.T, bias=True)
    np.testing.assert_allclose(covariance, expected + 1e-3 * np.diag(np.diag(expected)), rtol=1e-4, atol=1e-4)


def test_a_fit_with_values_missing_at_random_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 4)) @ rng.normal(size=(4, 4))
    holes = np.where(rng.random(rows.shape) < 0.2, np.nan, rows)
    mean, covariance = fit(holes[np.isfinite(holes).any(1)], np.ones(np.isfinite(holes).any(1).sum(), bool))
    scale = rows.std(0)
    assert (np.abs(mean - rows.mean(0)) / scale < 0.06).all()
    assert (np.abs(covariance - np.cov(rows.T)) / np.outer(scale, scale) < 0.06).all()


def test_point_distance_is_that_from_the_conditional_mean() -> None:
    model, pose = PoseModel(animals(200)), animals(1, seed=9)[0]
    pose[2] = np.nan
    mean, cov = model.mean, model.covariance
    k, rest = [2, 3], [0, 1, 6, 7]  # the left ear given nose and tail
    slope = cov[np.ix_(k, rest)] @ np.linalg.inv(cov[np.ix_(rest, rest)])
    expected = mean[k] + slope @ (pose.ravel()[rest] - mean[rest])
    spread = cov[np.ix_(k, k)] - slope @ cov[np.ix_(rest, k)]
    off = pose[1] - expected
    distances = model.point_distances(pose)
    assert distances[1] == pytest.approx(off @ np.linalg.inv(spread) @ off, rel=1e-6) and np.isnan(distances[2])


def test_planted_swaps_and_outliers_are_found_exactly() -> None:
    labels = labeled(animals(200))
    assert pose_findings(labels) == []
    changed, planted = planted_swaps(labels, 0.06, seed=0)
    points = changed.keypoints.copy()
    free = [i for i in range(200) if i not in planted][::20]
    points[free, 0] += [[25.0, -18.0]]
    changed = moved(changed, points)
    assert swaps_in(changed) == planted
    outliers = {e.subject: e.keypoints for f in pose_findings(changed) if f.kind == "unusual_pose" for e in f.examples}
    assert outliers == dict.fromkeys(free, (0,))


def test_a_body_with_all_sides_exchanged_is_found(data_root: Path) -> None:
    labels, _ = real(data_root, "mirror-mouse")
    labels = replace(labels, skeleton=replace(labels.skeleton, flip_pairs=PAWS))
    points = labels.keypoints.copy()
    points[[8, 50]] = points[[8, 50]][:, labels.skeleton.flip_index]
    assert set(swaps_in(moved(labels, points))) == {8, 50}


def test_too_few_or_degenerate_poses_give_no_findings() -> None:
    assert pose_findings(labeled(animals(20))) == []
    still = np.repeat(animals(1), 60, axis=0)
    assert pose_findings(labeled(still)) == []
    far = animals(60)
    far[3, 0] = 1e300, -1e300
    assert pose_findings(labeled(far)) == []


@pytest.mark.parametrize(
    ("name", "pairs", "real_swaps"),
    # In frame 102 of the second set the ears are really exchanged: the animal walks left, its left ear above.
    [("mirror-mouse", PAWS, set()), ("dlc-openfield", (("leftear", "rightear"),), {102})],
)
def test_swaps_planted_in_real_labels_are_found(
    data_root: Path, name: str, pairs: Sequence[tuple[str, str]], real_swaps: set[int]
) -> None:
    labels, _ = real(data_root, name)
    labels = replace(labels, skeleton=replace(labels.skeleton, flip_pairs=tuple(pairs)))
    assert set(swaps_in(labels)) == real_swaps
    hits = total = alarms = 0
    for seed in range(2):
        changed, planted = planted_swaps(labels, 0.05, seed)
        result = swaps_in(changed)
        hits += sum(result.get(i, set()) >= points for i, points in planted.items())
        alarms += len(set(result) - set(planted) - real_swaps)
        total += len(planted)
    assert hits >= 0.8 * total and alarms <= 2


@pytest.mark.parametrize("name", SETS)
def test_right_coordinates_give_no_findings(data_root: Path, name: str) -> None:
    labels, images = real(data_root, name, 60)
    assert convention_findings(labels, images, range(len(labels))) == []


@pytest.mark.parametrize("name", ["dlc-openfield", "glue-tubes-single"])
@pytest.mark.parametrize("convention", [name for name in CONVENTIONS if name != "as given"])
def test_other_conventions_are_recognized(data_root: Path, name: str, convention: str) -> None:
    labels, images = real(data_root, name, 24)
    sizes = [images.size(image) for image in labels.images]
    undo = _inverse(convention)
    wrong = moved(labels, np.array([undo(p, *size) for p, size in zip(labels.keypoints, sizes, strict=True)]))
    again = [CONVENTIONS[convention][0](p, *size) for p, size in zip(wrong.keypoints, sizes, strict=True)]
    np.testing.assert_allclose(again, labels.keypoints)
    (finding,) = convention_findings(wrong, images, range(len(wrong)))
    assert finding.message.startswith(convention) and finding.severity == "error"


def _inverse(convention: str) -> Callable[[np.ndarray, int, int], np.ndarray]:
    """Return the function from right coordinates to those of a convention."""
    if convention == "the image was rotated left":
        return lambda p, h, w: (p * [-1, 1] + [w - 1, 0])[..., ::-1]
    if convention == "the image was rotated right":
        return lambda p, h, w: (p * [1, -1] + [0, h - 1])[..., ::-1]
    return CONVENTIONS[convention][0]


def test_y_from_the_bottom_is_found_in_a_real_file(data_root: Path) -> None:
    folder = data_root / "keypoints" / "fly-wing"
    with (folder / "landmark-examples" / "csv-example.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    points = np.array([row[1:] for row in rows], float).reshape(-1, 12, 2)
    subjects = (Subject(row[0], row[0], p, np.full(12, 2)) for row, p in zip(rows, points, strict=True))
    labels = Labels("wings", ".", Skeleton(tuple(f"LM{i}" for i in range(12))), tuple(subjects))
    report = audit(labels, ImageFolder(folder / "image-examples"))
    assert kinds(report) == {"coordinate_convention": 58} and report.has_errors
    assert report.findings[0].message.startswith("y counts from the bottom")
    scores = convention_scores(labels, ImageFolder(folder / "image-examples"))
    assert scores["y counts from the bottom"] > 0.6 > 0.2 > max(v for k, v in scores.items() if "bottom" not in k)


def test_a_real_set_has_coincident_points_and_duplicates(data_root: Path) -> None:
    labels, images = real(data_root, "mirror-mouse")
    others = unlabeled_images(labels, images)
    report = audit(labels, images, others=scan(images, others))
    assert kinds(report) == {"coincident": 1, "unlabeled_duplicate": 3} and not report.has_errors
    repeats = {(e.image, e.other) for f in report.findings if f.kind == "unlabeled_duplicate" for e in f.examples}
    assert ("labeled-data/img00.png", "labeled-data/img01.png") in repeats
