"""Found subjects beside labeled ones: cases worked out by hand, and COCO's own evaluator."""

from __future__ import annotations

import io
import json
import math
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.subjects import NOTHING, SKELETON, found_at, points_at, random_results, results_of, scene_of
from softpoint.evaluation.intervals import OKS
from softpoint.evaluation.subjects import SubjectResults, measure_subjects, read_subjects, write_subjects
from softpoint.evaluation.subjects.matching import by_distance, by_oks, match_subjects
from softpoint.evaluation.subjects.results import select_found
from softpoint.metrics.functional import pose_similarity

AREA = 50 * 40  # px^2 of the boxes of the helper


def overall(results: SubjectResults, rule: str = "oks", **settings: Any) -> dict[str, float]:
    content = measure_subjects(results, draws=0, **settings)
    return {name: entry["value"] for name, entry in content[rule]["overall"].items()}


def test_oks_by_hand():
    """One point exact and one 10 px off: the mean of 1 and exp(-100 / (2 * area * (2 * sigma)^2))."""
    truth = points_at((100, 100))
    found = truth + np.array([[0, 0], [6, 8]])
    similarity = pose_similarity(found[:, None], truth, np.array([float(AREA)]), np.array([0.1, 0.1]))
    assert similarity == pytest.approx(np.array([[(1 + math.exp(-100 / (2 * AREA * 0.04))) / 2]]))
    unlabeled = truth.copy()
    unlabeled[0, 0] = np.nan
    similarity = pose_similarity(found[:, None], unlabeled, np.array([float(AREA)]), np.array([0.1, 0.1]))
    assert similarity == pytest.approx(np.array([[math.exp(-100 / (2 * AREA * 0.04))]]))


def test_the_likeliest_takes_the_best_that_is_left():
    """B is nearer to the first subject, but A is likelier, and takes it; C is then left with none."""
    scene = scene_of(points_at((100, 100), (130, 100)))
    found = found_at(points_at((104, 100), (101, 100), (103, 100)), [0.9, 0.8, 0.7])
    outcomes = match_subjects(results_of((scene, found)), by_distance(40 / 500))
    assert outcomes.subject.tolist() == [0, 1, -1]
    assert outcomes.find.tolist() == [0, 1]
    assert outcomes.twin.tolist() == [-1, -1, 0]
    near = match_subjects(results_of((scene, found)), by_distance(10 / 500))
    assert near.subject.tolist() == [0, -1, -1] and near.twin.tolist() == [-1, 0, 0]
    assert near.find.tolist() == [0, -1]


def test_distance_is_the_mean_over_labeled_points_as_a_fraction_of_the_diagonal():
    scene, shift = scene_of(points_at((100, 100))), np.array([[12.0, 0], [8.0, 0]])  # 10 px of 500: exactly 2 %
    assert (
        overall(
            results_of(
                (scene, found_at(scene.keypoints + shift, [1])),
            ),
            "distance",
        )["recall"]
        == 1
    )
    farther = found_at(scene.keypoints + shift + [0.1, 0], [1])
    assert overall(results_of((scene, farther)), "distance")["recall"] == 0


def test_recall_grows_with_the_distance():
    """Finds that are off by 1, 4, 9 and 24 px of a diagonal of 500 px."""
    scenes = [scene_of(points_at((200, 150))) for _ in range(4)]
    offsets = [np.array([shift, 0.0]) for shift in (1, 4, 9, 24)]
    found = [found_at(scene.keypoints + offset, [0.9]) for scene, offset in zip(scenes, offsets, strict=True)]
    content = measure_subjects(results_of(*zip(scenes, found, strict=True)), distance=0.003, draws=0)
    rows = [(row["within"], row["recall"], row["precision"], row["false_per_image"]) for row in content["distances"]]
    assert [row[0] for row in rows] == [0.003, 0.005, 0.01, 0.02, 0.05]
    assert [row[1] for row in rows] == [row[2] for row in rows] == [0.25, 0.25, 0.5, 0.75, 1]
    assert rows[2][3] == 0.5


@pytest.mark.parametrize("name", ["threshold", "level", "distance", "overlap"])
def test_limits_out_of_range_are_refused(name: str):
    with pytest.raises(ValueError, match=r"=1\.5 must be a number from 0 to 1"):
        measure_subjects(random_results(0), **{name: 1.5})


def test_perfect_finds_are_perfect():
    scenes = [scene_of(points_at((60, 60), (200, 150), (330, 240)), group=f"{i}") for i in range(7)]
    empty = scene_of(NOTHING, group="7")
    images = [
        *((scene, found_at(scene.keypoints, [0.9, 0.8, 0.7])) for scene in scenes),
        (empty, found_at(NOTHING, [])),
    ]
    content = measure_subjects(results_of(*images), draws=50)
    assert {name: entry["value"] for name, entry in content["average_precision"].items()} == pytest.approx(
        dict.fromkeys(OKS, 1.0)
    )
    for rule in ("oks", "distance"):
        values = {name: entry["value"] for name, entry in content[rule]["overall"].items()}
        ones = ("precision", "recall", "images_without_false", "empty_images_right", "right_counts")
        assert [values.pop(name) for name in ones] == [1] * 5
        assert values == dict.fromkeys(values, 0)
    assert content["counts"] == [{"labeled": 0, "found": 0, "images": 1}, {"labeled": 3, "found": 3, "images": 7}]


def test_a_doubled_find_lowers_precision_by_one_of_the_finds():
    scene = scene_of(points_at((60, 60), (200, 150), (330, 240)))
    once = found_at(scene.keypoints, [0.9, 0.8, 0.7])
    twice = found_at(np.concatenate([scene.keypoints, scene.keypoints[:1] + 1]), [0.9, 0.8, 0.7, 0.6])
    before, after = overall(results_of((scene, once))), overall(results_of((scene, twice)))
    assert (before["precision"], after["precision"]) == (1, 3 / 4)
    assert (after["false_per_image"], after["doubled_per_image"], after["images_without_false"]) == (1, 1, 0)
    assert after["recall"] == 1 and after["epe"] == 0
    assert overall(results_of((scene, twice)), threshold=0.65) == before


def test_missed_and_false_subjects_are_counted():
    """Of 4 subjects in 3 images one is missed; one of 4 finds is away from all, another unlikely, in an empty image."""
    images = [
        (scene_of(points_at((60, 60), (200, 150))), found_at(points_at((60, 60), (350, 250)), [0.9, 0.8])),
        (scene_of(points_at((60, 60), (200, 150))), found_at(points_at((60, 60), (202, 150)), [0.9, 0.8])),
        (scene_of(NOTHING), found_at(points_at((60, 60)), [0.4])),
    ]
    values = overall(results_of(*images))
    expected = {"precision": 3 / 4, "recall": 3 / 4, "false_per_image": 1 / 3, "missed_per_image": 1 / 3}
    expected |= {"images_without_false": 2 / 3, "empty_images_right": 1, "doubled_per_image": 0, "right_counts": 1}
    expected |= {"epe": 2 / 3, "median": 0, "p95": 2}
    assert values == pytest.approx(expected)
    assert overall(results_of(*images), threshold=0.3)["empty_images_right"] == 0


def test_a_find_in_a_crowd_is_neither_right_nor_wrong():
    labeled = points_at((60, 60))
    found = found_at(points_at((60, 60), (300, 200)), [0.9, 0.8])
    without, within = scene_of(labeled), scene_of(labeled, [[280, 180, 320, 220]])
    beside = scene_of(labeled, [[301, 180, 340, 220]])  # the center of the found box is 1 px outside
    values = [overall(results_of((scene, found))) for scene in (without, within, beside)]
    assert [value["precision"] for value in values] == [1 / 2, 1, 1 / 2]
    assert [value["images_without_false"] for value in values] == [0, 1, 0]
    assert "right_counts" not in values[1]  # nobody knows how many there are
    matched = scene_of(labeled, [[0, 0, 400, 300]])
    assert overall(results_of((matched, found)))["recall"] == 1


def test_of_an_image_that_is_partly_labeled_only_the_boxes_are_known():
    scene = scene_of(points_at((60, 60)), complete=False)
    found = found_at(points_at((60, 60), (300, 200), (75, 60)), [0.9, 0.8, 0.7])
    values = overall(results_of((scene, found)))
    assert values["precision"] == 1 / 2  # the third is in the box of the first
    assert overall(results_of((scene._replace(complete=True), found)))["precision"] == 1 / 3
    assert "empty_images_right" not in overall(results_of((scene_of(NOTHING, complete=False), found)))
    content = measure_subjects(results_of((scene, found)), draws=0)
    assert content["average_precision"]["oks_ap"]["value"] == pytest.approx(1)  # the wrong find comes last


def test_a_subject_without_points_need_not_be_found():
    points = np.concatenate([points_at((60, 60)), np.full((1, 2, 2), np.nan)])
    scene = scene_of(points)._replace(boxes=np.array([[35.0, 40, 85, 80], [275, 180, 325, 220]]))
    values = overall(results_of((scene, found_at(points_at((60, 60), (300, 200)), [0.9, 0.8]))))
    assert (values["precision"], values["recall"]) == (1, 1)


def test_crowded_and_isolated_subjects_are_apart():
    """The boxes of 50 x 40 px at a distance of 30 px share 800 of 3200 px^2: an IoU of 0.25."""
    scene = scene_of(points_at((100, 100), (130, 100), (300, 200)))
    found = found_at(points_at((103, 104), (300, 201)), [0.9, 0.8])
    content = measure_subjects(results_of((scene, found)), draws=0)
    assert (content["subjects"], content["crowded"]) == (3, 2)
    crowded, isolated = content["oks"]["crowded"], content["oks"]["isolated"]
    assert (crowded["subjects"], crowded["recall"]["value"], crowded["epe"]["value"]) == (2, 0.5, 5)
    assert (isolated["subjects"], isolated["recall"]["value"], isolated["epe"]["value"]) == (1, 1, 1)
    assert measure_subjects(results_of((scene, found)), draws=0, overlap=0.25)["crowded"] == 0


def test_the_score_is_calibrated_where_it_is_the_rate_of_right_finds():
    """Of ten finds with a score of 0.8 eight are right; at 0.95 all are, which is 0.05 too little."""
    images = []
    for i in range(10):
        scene = scene_of(points_at((60, 60), (300, 60)))
        second = (60, 60) if i < 8 else (60, 200)
        images.append((scene, found_at(points_at((300, 60), second), [0.95, 0.8])))
    score = measure_subjects(results_of(*images), draws=0)["score"]
    assert [row["found"] for row in score["curve"]] == [10, 10]
    assert [row["right"] for row in score["curve"]] == [0.8, 1]
    assert score["ece"]["value"] == pytest.approx(0.025)


def test_permuted_finds_and_images_change_nothing():
    results = random_results(0, crowds=True, incomplete=True)
    tied = replace(results, found=results.found._replace(score=results.found.score.round(1)))
    rng = np.random.default_rng(0)
    rows = []
    for i in rng.permutation(len(tied)):
        found = tied.found_subjects(int(i))
        rows.append((tied.images[i], tied.scene(int(i)), select_found(found, rng.permutation(len(found.score)))))
    again = SubjectResults.of([(n, s, f) for n, s, f in rows], SKELETON)
    ordered = SubjectResults.of([(tied.images[i], tied.scene(i), tied.found_subjects(i)) for i in range(12)], SKELETON)
    back = again.select([again.images.index(name) for name in ordered.images])
    assert measure_subjects(back, draws=20) == measure_subjects(ordered, draws=20)


def test_parts_joined_are_the_whole():
    results = random_results(1, images=20, crowds=True)
    joined = SubjectResults.concat([results.select(range(7)), results.select(range(7, 20))])
    assert measure_subjects(joined, draws=20) == measure_subjects(results, draws=20)
    with pytest.raises(ValueError, match=r"0\.png is evaluated twice"):
        SubjectResults.concat([results, results])


@pytest.mark.parametrize("learned", [False, True])
def test_results_survive_their_file(tmp_path: Path, learned: bool):
    results = random_results(2, crowds=True, incomplete=True)
    if learned:
        states = np.random.default_rng(0).dirichlet([1, 1, 1], results.found.keypoints.shape[:2])
        results = replace(results, found=results.found._replace(visibility=states))
    write_subjects(tmp_path / "subjects.csv", results)
    again = read_subjects(tmp_path / "subjects.csv")
    for name in ("size", "complete", "labeled_in", "found_in", "crowds", "crowds_in"):
        np.testing.assert_array_equal(getattr(again, name), getattr(results, name))
    for one, other in zip((*again.labeled, *again.found), (*results.labeled, *results.found), strict=True):
        assert (one is None) == (other is None)
        np.testing.assert_array_equal(one, other)
    assert (again.images, again.groups) == (results.images, results.groups)
    assert measure_subjects(again, draws=20) == measure_subjects(results, draws=20)


def test_bad_files_and_finds_are_named(tmp_path: Path):
    path = tmp_path / "subjects.csv"
    with pytest.raises(FileNotFoundError, match="softpoint evaluate writes"):
        read_subjects(path)
    path.write_text("kind,image\n")
    with pytest.raises(ValueError, match="its columns differ"):
        read_subjects(path)
    write_subjects(path, random_results(0))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[2:]]))
    with pytest.raises(ValueError, match="line 2: it has another form"):
        read_subjects(path)
    path.write_text("\n".join([*lines, lines[-1].replace(lines[-1].split(",")[6], "x")]))
    with pytest.raises(ValueError, match=f"line {len(lines) + 1}: could not convert"):
        read_subjects(path)
    found = found_at(points_at((60, 60)), [0.9])
    with pytest.raises(ValueError, match=r"the keypoints of a subject found in 0\.png is NaN"):
        results_of((scene_of(NOTHING), found._replace(keypoints=np.full((1, 2, 2), np.nan))))
    with pytest.raises(ValueError, match="nothing to evaluate"):
        measure_subjects(results_of())


def test_intervals_hold_their_values_and_come_from_groups():
    content = json.loads(json.dumps(measure_subjects(random_results(3, images=60, crowds=True), draws=200)))
    assert content["resampled"]["unit"] == "groups" and "intervals" in content["skipped"]  # 4 groups
    single = random_results(3, images=60).with_groups([f"{i}" for i in range(60)])
    content = measure_subjects(single, draws=200)
    for part in (content["average_precision"], content["oks"]["overall"], content["distance"]["overall"]):
        for name, entry in part.items():
            assert entry["low"] <= entry["value"] <= entry["high"], name
    recall = content["oks"]["overall"]["recall"]
    assert 0.02 < recall["high"] - recall["low"] < 0.3


def test_what_is_alike_in_every_image_is_still_uncertain():
    """Of 40 images without a fault the rate of faults may be 9 %: 0.025 is 0.912 to the power of 40."""
    scenes = [scene_of(points_at((200, 150)), group=f"{i}") for i in range(40)]
    results = results_of(*((scene, found_at(scene.keypoints, [0.9])) for scene in scenes))
    values = measure_subjects(results, draws=50)["oks"]["overall"]
    assert (values["recall"]["low"] ** 40, values["recall"]["high"]) == (pytest.approx(0.025), 1)
    assert values["images_without_false"]["low"] == values["recall"]["low"]
    assert math.exp(-40 * values["false_per_image"]["high"]) == pytest.approx(0.025)
    nothing = [(scene, found_at(NOTHING, [])) for scene in scenes]
    values = measure_subjects(results_of(*nothing), draws=50)["oks"]["overall"]
    assert (1 - values["recall"]["high"]) ** 40 == pytest.approx(0.025) and values["recall"]["low"] == 0
    assert values["missed_per_image"] == {"value": 1}  # it might be anything in another image
    assert measure_subjects(results.select(range(5)), draws=50)["oks"]["overall"]["recall"] == {"value": 1}


def test_without_the_evaluator_of_coco_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch):
    def missing() -> None:
        raise ImportError("OKS needs pycocotools")

    monkeypatch.setattr("softpoint.evaluation.subjects.summary.evaluator", missing)
    content = measure_subjects(random_results(0), draws=0)
    assert content["average_precision"] == {} and "recall" in content["oks"]["overall"]
    assert {name: content["skipped"][name] for name in OKS} == dict.fromkeys(OKS, "OKS needs pycocotools")


def stats_of_coco(results: SubjectResults, sigmas: np.ndarray) -> list[float]:
    """AP, AP50, AP75 and AR by pycocotools from files of its own form."""
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    annotations: list[dict[str, Any]] = []
    for i, points in enumerate(results.labeled.keypoints):
        left, top, right, bottom = results.labeled.boxes[i].tolist()
        states = results.labeled.visibility[i].tolist()
        flat = [x for (a, b), v in zip(np.nan_to_num(points).tolist(), states, strict=True) for x in (a, b, v)]
        annotations.append({"image_id": int(results.labeled_in[i]), "keypoints": flat, "iscrowd": 0,
                            "num_keypoints": sum(v > 0 for v in states), "area": (right - left) * (bottom - top),
                            "bbox": [left, top, right - left, bottom - top]})  # fmt: skip
    for owner, (left, top, right, bottom) in zip(results.crowds_in.tolist(), results.crowds.tolist(), strict=True):
        annotations.append({"image_id": owner, "keypoints": [0] * 6, "num_keypoints": 0, "iscrowd": 1,
                            "area": (right - left) * (bottom - top),
                            "bbox": [left, top, right - left, bottom - top]})  # fmt: skip
    detections = [
        {"image_id": int(owner), "category_id": 1, "score": float(score),
         "keypoints": [x for point in points.tolist() for x in (*point, 1)]}
        for owner, score, points in zip(results.found_in, results.found.score, results.found.keypoints, strict=True)
    ]  # fmt: skip
    with redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        entries = [{**entry, "id": i, "category_id": 1} for i, entry in enumerate(annotations, 1)]
        truth.dataset = {"images": [{"id": i} for i in range(len(results))], "annotations": entries,
                         "categories": [{"id": 1, "name": "x"}]}  # fmt: skip
        truth.createIndex()
        judge = cocoeval.COCOeval(truth, truth.loadRes(detections), "keypoints")
        judge.params.kpt_oks_sigmas = sigmas
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]] * 3, ["all", "medium", "large"]
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [judge.stats[i] for i in (0, 1, 2, 5)]


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_pycocotools(seed: int, crowds: bool):
    results, sigmas = random_results(seed, images=25, crowds=crowds), np.array([0.05, 0.1])
    content = measure_subjects(results, oks_sigmas=sigmas.tolist(), draws=0)
    values = [content["average_precision"][name]["value"] for name in OKS]
    assert values == pytest.approx(stats_of_coco(results, sigmas), abs=1e-12)
    assert 0.1 < values[0] < 0.95


@pytest.mark.parametrize("seed", range(4))
def test_matches_at_one_level_are_those_of_pycocotools(seed: int):
    """At OKS 0.5 and without ignored places recall is COCO's at its first threshold."""
    from softpoint.evaluation.oks import match_detections
    from softpoint.evaluation.subjects import summary

    pytest.importorskip("pycocotools")
    results, sigmas = random_results(seed, images=25), np.array([0.05, 0.1])
    outcomes = match_subjects(results, by_oks(sigmas))
    assert match_detections is summary.match_detections
    resamples = summary.Resamples.of(results, 0, 0)
    matches = summary.coco_matches(results, sigmas, outcomes, resamples)
    assert sorted(matches.scores[matches.hits[0] & matches.counted[0]]) == sorted(
        results.found.score[outcomes.subject >= 0]
    )
    assert matches.positives.sum() == outcomes.measured.sum()
