"""Chosen images are copied as they are, and every file of labels holds the same points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.selection import candidate, prediction
from helpers.videos import bits, film, number_of
from softpoint.images.decode import read_image
from softpoint.inference.batch.sources import ImageSource, VideoSource
from softpoint.labels.formats import read_labels
from softpoint.labels.schema import Labels
from softpoint.labels.skeleton import Skeleton
from softpoint.selection.candidates import Reading
from softpoint.selection.prelabels import COCO, LABELED_DATA, SLEAP, Copy, copy_images, write_prelabels
from softpoint.selection.sheets import predicted_tile

SKELETON = Skeleton(("nose", "left_ear", "right_ear"), (("left_ear", "right_ear"),), (("nose", "left_ear"),))
READING = Reading(0.05)


@pytest.fixture
def copies(tmp_path: Path) -> list[Copy]:
    """Two images of two folders, whose second lacks a confident point and has one outside."""
    rng = np.random.default_rng(0)
    names = ("day1/img0.png", "day2/img0.png")
    for name in names:
        (tmp_path / "source" / name).parent.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(tmp_path / "source" / name)
    source = ImageSource(tmp_path / "source", names)
    points = np.array([[10.125, 20.25], [30.0, 12.0], [70.0, 33.5]])
    second = prediction(points, np.array([0.9, 0.05, 0.9]))
    chosen = [candidate(0, source=source, name=names[0]), candidate(1, source=source, name=names[1])]
    chosen[1].predictions = [second]
    return [copy for copy, _ in copy_images(chosen, tmp_path / "out", READING)]


def test_images_of_bands_are_copied_as_files_and_shown_by_their_first_bands(tmp_path: Path) -> None:
    bands = np.random.default_rng(0).integers(0, 256, (48, 64, 5), np.uint8)
    np.save(tmp_path / "a.npy", bands)
    one = candidate(0, source=ImageSource(tmp_path, ("a.npy",)), name="a.npy")
    ((copy, pixels),) = copy_images([one], tmp_path / "out", Reading(0.05, channels=5))
    assert (tmp_path / "out" / "images" / copy.file).read_bytes() == (tmp_path / "a.npy").read_bytes()
    tile = predicted_tile(pixels, [], SKELETON)
    assert np.array_equal(tile, predicted_tile(bands[..., :3], [], SKELETON)) and tile.shape == (315, 420, 3)


def points_of(labels: Labels) -> dict[str, np.ndarray]:
    assert labels.skeleton.names == SKELETON.names
    return {
        "/".join(path.split("/")[-2:]): subject.keypoints
        for path, subject in zip(labels.paths, labels.subjects, strict=True)
    }


def test_all_formats_give_the_points_back(copies: list[Copy], tmp_path: Path) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    output = tmp_path / "out"
    files, remarks = write_prelabels(copies, output, SKELETON, 0.1, "anna")
    assert files == [COCO, f"{LABELED_DATA}/", SLEAP] and not remarks
    suggested = sleap_io.load_file(str(output / SLEAP), open_videos=False).suggestions
    assert [one.frame_idx for one in suggested] == [*range(len(copies))]
    nan = np.nan
    expected = {
        "day1/img0.png": [[10, 20], [30, 12], [40, 33.5]],
        "day2/img0.png": [[10.125, 20.25], [nan] * 2, [nan] * 2],
    }
    tables = [output / LABELED_DATA / "DAY" / f"CollectedData_anna.{suffix}" for suffix in ("csv", "h5")]
    for template in (output / COCO, output / SLEAP, *tables):
        found: dict[str, np.ndarray] = {}
        for path in dict.fromkeys(Path(str(template).replace("DAY", day)) for day in ("day1", "day2")):
            labels = read_labels(path)
            found |= points_of(labels)
            assert all((Path(labels.folder) / image).is_file() for image in labels.images), path
        assert found.keys() == expected.keys()
        for image, points in expected.items():
            np.testing.assert_allclose(found[image], points, err_msg=str(template))


def test_a_copy_never_replaces_a_file(copies: list[Copy], tmp_path: Path) -> None:
    original = tmp_path / "out" / "images" / "day1" / "img0.png"
    source = ImageSource(original.parent, (original.name,))
    original.write_bytes((tmp_path / "source/day2/img0.png").read_bytes())
    before = original.read_bytes()
    with pytest.raises(FileExistsError, match=r"img0\.png exists, and is not overwritten"):
        list(copy_images([candidate(source=source, name=original.name)], tmp_path / "out", READING))
    assert original.read_bytes() == before


def test_coco_has_boxes_and_deeplabcut_its_scorer(copies: list[Copy], tmp_path: Path) -> None:
    write_prelabels(copies, tmp_path / "out", SKELETON, 0.1, "anna")
    box = read_labels(tmp_path / "out" / COCO).boxes[0]
    assert (box[:2] < [10, 12]).all() and (box[2:] > [40, 33.5]).all() and (box[2:] <= [63.5, 47.5]).all()
    table = tmp_path / "out" / LABELED_DATA / "day2" / "CollectedData_anna.csv"
    head, *_, row = table.read_text().splitlines()
    assert head == "scorer" + 6 * ",anna" and row == f"{LABELED_DATA}/day2/img0.png,10.125,20.25,,,,"
    assert (table.parent / "img0.png").read_bytes() == (tmp_path / "source/day2/img0.png").read_bytes()


def test_an_image_without_a_sure_point_is_an_image_to_label(copies: list[Copy], tmp_path: Path) -> None:
    write_prelabels(copies, tmp_path / "out", SKELETON, 0.95, "anna")
    labels = read_labels(tmp_path / "out" / COCO)
    assert len(labels) == 2 and not labels.visibility.any()
    assert len(read_labels(tmp_path / "out" / LABELED_DATA / "day1" / "CollectedData_anna.csv")) == 1


def test_files_stay_as_they_are_and_turned_ones_and_frames_become_png(tmp_path: Path) -> None:
    source, rng = tmp_path / "source", np.random.default_rng(0)
    source.mkdir()
    pixels = Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels.save(source / "plain.jpg")
    pixels.save(source / "turned.jpg", exif=exif)
    clip = film(source / "clip.mp4", draw=bits)
    images = ImageSource(source, ("plain.jpg", "turned.jpg"))
    chosen = [candidate(i, source=images, name=name, size=(48, 64)) for i, name in enumerate(images.names)]
    chosen += [candidate(n, source=VideoSource(clip, "clip.mp4"), name=f"clip.mp4/{n:06}") for n in (20, 3)]
    written = {copy.file: pixels for copy, pixels in copy_images(chosen, tmp_path / "out", READING)}
    names = {"source/plain.jpg", "source/turned.png", "clip/img000003.png", "clip/img000020.png"}
    assert written.keys() == names
    for file, shown in written.items():
        np.testing.assert_array_equal(read_image(tmp_path / "out/images" / file), shown)
    assert (tmp_path / "out/images/source/plain.jpg").read_bytes() == (source / "plain.jpg").read_bytes()
    assert written["source/turned.png"].shape == (64, 48, 3)
    assert [number_of(written[f"clip/img{n:06}.png"]) for n in (3, 20)] == [3, 20]


def test_two_copies_never_share_a_name(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("a_b/x.png", "a/b/x.png"):
        (source / name).parent.mkdir(parents=True)
        Image.new("RGB", (64, 48), (len(name), 0, 0)).save(source / name)
    images = ImageSource(source, ("a/b/x.png", "a_b/x.png"))
    chosen = [candidate(i, source=images, name=name) for i, name in enumerate(images.names)]
    files = [copy.file for copy, _ in copy_images(chosen, tmp_path / "out", READING)]
    assert files == ["a_b/x.png", "a_b/x_2.png"]
