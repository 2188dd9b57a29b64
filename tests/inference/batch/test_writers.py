"""Each file of predictions opens with the library it is for, and in our own readers, with the same numbers."""

from __future__ import annotations

import csv
import json
import logging
import pickletools
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.predictions import SKELETON, predicted
from softpoint.inference.batch.predictions import Predictions
from softpoint.inference.batch.writers import FORMATS, check_formats, coco, dlc, slp, write_table
from softpoint.labels.formats import read_labels
from softpoint.labels.skeleton import Skeleton

RNG = np.random.default_rng(0)
IMAGES = ("v/a, b.png", "v/ü.png", "c.png", "d.png")


def points(*subjects: int) -> list[np.ndarray]:
    return [RNG.uniform(-5, 2000, (count, len(SKELETON), 2)) for count in subjects]


def lines(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def expected(all_points: list[np.ndarray]) -> np.ndarray:
    """(N, K, 2) as files have them: one subject per image, NaN without."""
    nothing = np.full((1, len(SKELETON), 2), np.nan)
    return np.round(np.concatenate([subjects if len(subjects) else nothing for subjects in all_points]), 3)


def test_the_table_of_a_video_has_a_row_for_every_frame(tmp_path: Path) -> None:
    all_points = [np.array([[[1.25, -2], [3, 4e3], [-1e-9, 7]]]), np.zeros((0, 3, 2))]
    write_table(tmp_path / "new" / "p.csv", predicted(all_points))
    assert lines(tmp_path / "new" / "p.csv") == [
        ["frame", "time", *(f"{name}_{part}" for name in SKELETON.names for part in ("x", "y", "confidence"))],
        ["0", "0.000000", "1.250", "-2.000", "0.3000", "3.000", "4000.000", "0.4667", "0.000", "7.000", "0.6333"],
        ["1", "0.125000", *[""] * 9],
    ]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["p.csv"]


def test_boxes_and_visibility_have_columns(tmp_path: Path) -> None:
    predictions = predicted(
        [np.array([[[1.0, 2.0]]] * 2)], ("a.png",), skeleton=Skeleton(("nose",)), boxes=True, visibility=True
    )
    write_table(tmp_path / "p.csv", predictions)
    header, first, second = (tmp_path / "p.csv").read_text().splitlines()
    assert (
        header == "image,box_left,box_top,box_right,box_bottom,nose_x,nose_y,nose_confidence,nose_absent,nose_occluded"
    )
    assert first == "a.png,1.000,2.000,30.500,40.250,1.000,2.000,0.3000,0.2500,0.1250"
    assert second.startswith("a.png,2.000,3.000,31.500")


@pytest.mark.parametrize("write", [write_table, coco.write, dlc.write_csv, dlc.write_h5])
def test_an_error_leaves_the_earlier_files(tmp_path: Path, write: Any) -> None:
    pytest.importorskip("h5py")

    def failing() -> Any:
        yield from predicted(points(1)).rows()
        raise ZeroDivisionError

    broken = Predictions(SKELETON, tmp_path / "clip.mp4", None, failing)
    (tmp_path / "file").write_text("earlier")
    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "file", broken)
    assert (tmp_path / "file").read_text() == "earlier" and list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("images", [IMAGES, None])
@pytest.mark.parametrize("write", [write_table, dlc.write_csv, dlc.write_h5])
def test_softpoint_reads_the_same_numbers_back(tmp_path: Path, write: Any, images: tuple[str, ...] | None) -> None:
    pytest.importorskip("h5py")
    all_points = points(1, 1, 0, 1)
    path = tmp_path / ("p.h5" if write is dlc.write_h5 else "p.csv")
    write(path, predicted(all_points, images))
    labels = read_labels(path)
    assert labels.images == (images or ("0", "1", "2", "3")) and labels.skeleton.names == SKELETON.names
    np.testing.assert_array_equal(labels.keypoints, expected(all_points))


@pytest.mark.parametrize("images", [IMAGES, None])
@pytest.mark.parametrize("counts", [(1, 1, 0, 1), (1, 3, 0, 2)])
def test_pandas_reads_deeplabcuts_tables(tmp_path: Path, counts: tuple[int, ...], images: Any) -> None:
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("tables")
    all_points = points(*counts)
    predictions = predicted(all_points, images)
    dlc.write_csv(tmp_path / "p.csv", predictions)
    dlc.write_h5(tmp_path / "p.h5", predictions)
    levels = ["scorer", "individuals", "bodyparts", "coords"]
    levels = levels if max(counts) > 1 else [level for level in levels if level != "individuals"]
    frame = pandas.read_csv(tmp_path / "p.csv", header=list(range(len(levels))), index_col=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stored = pandas.read_hdf(tmp_path / "p.h5", "df_with_missing")
        assert stored.equals(pandas.read_hdf(tmp_path / "p.h5"))
    for table in (frame, stored):
        assert list(table.columns.names) == levels and list(table.columns) == list(stored.columns)
        assert list(table.index) == list(images or range(4))
        np.testing.assert_array_equal(table.to_numpy(), stored.to_numpy())
    assert stored.columns.get_level_values("coords").tolist()[:3] == ["x", "y", "likelihood"]
    for number, subjects in enumerate(all_points):
        for i, subject in enumerate(subjects):
            mine = stored["softpoint"][f"individual{i + 1}"] if max(counts) > 1 else stored["softpoint"]
            for k, name in enumerate(SKELETON.names):
                np.testing.assert_array_equal(mine[name][["x", "y"]].iloc[number], np.round(subject[k], 3))
                assert mine[name]["likelihood"].iloc[number] == round(0.3 + 0.5 * k / 3, 4)


def test_the_hdf5_file_holds_no_pickle(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    dlc.write_h5(tmp_path / "p.h5", predicted(points(1, 2), IMAGES[:2]))
    seen = []

    def look(name: str, node: Any) -> None:
        values = [*node.attrs.values(), *([node[()]] if isinstance(node, h5py.Dataset) else [])]
        for value in values:
            array = np.asarray(value if not isinstance(value, h5py.Empty) else b"")
            assert array.dtype.kind in "SUifu", (name, array.dtype)
            seen.extend(item for item in array.ravel().tolist() if isinstance(item, bytes) and item.endswith(b"."))

    with h5py.File(tmp_path / "p.h5") as file:
        file.visititems(look)
    for text in seen:  # what PyTables would take for one
        with pytest.raises(ValueError):
            list(pickletools.genops(text))


def test_many_frames_are_written_in_chunks(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    all_points = points(*[1] * 600)
    dlc.write_h5(tmp_path / "p.h5", predicted(all_points))
    np.testing.assert_array_equal(read_labels(tmp_path / "p.h5").keypoints, expected(all_points))


@pytest.mark.parametrize("images", [IMAGES, None])
def test_coco_loads_its_results(tmp_path: Path, images: Any, capsys: pytest.CaptureFixture[str]) -> None:
    api = pytest.importorskip("pycocotools.coco")
    all_points = points(1, 3, 0, 1)
    all_points[3][0, 1] = np.nan
    coco.write(tmp_path / "r.json", predicted(all_points, images))
    truth = api.COCO(str(tmp_path / "r_images.json"))
    results = truth.loadRes(str(tmp_path / "r.json"))
    assert truth.cats[1]["keypoints"] == list(SKELETON.names) and truth.cats[1]["skeleton"] == [[1, 2]]
    names = images or tuple(f"clip.mp4/{n:06d}" for n in range(4))
    assert [truth.imgs[i]["file_name"] for i in range(4)] == list(names)
    assert all((image["height"], image["width"]) == (48, 64) for image in truth.imgs.values())
    for number, subjects in enumerate(all_points):
        listed = results.imgToAnns[number]
        assert len(listed) == len(subjects)
        for instance, subject in zip(listed, subjects, strict=True):
            triples = np.array(instance["keypoints"]).reshape(-1, 3)
            finite = np.isfinite(subject).all(1)
            np.testing.assert_array_equal(triples[finite, :2], np.round(subject[finite], 3))
            np.testing.assert_array_equal(triples[~finite], 0)
            assert instance["score"] == pytest.approx(np.mean([0.3, 0.4667, 0.6333]), abs=1e-6)


def test_images_of_a_coco_file_keep_their_ids(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 900, "file_name": "v/ü.png"}, {"id": "7", "file_name": "./c.png"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 5, "keypoints": [1, 2, 2], "num_keypoints": 1}],
        "categories": [
            {"id": 3, "name": "car"},
            {"id": 5.0, "name": "mouse", "keypoints": ["nose"]},
            {"id": 6, "name": "bee", "keypoints": ["head", "wing"]},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    assert coco.read_ids(tmp_path / "coco.json") == ({"v/ü.png": 900, "c.png": 7}, 5)
    assert coco.read_ids(tmp_path / "coco.json", ("head", "wing"))[1] == 6
    (tmp_path / "other.csv").write_text("image,nose_x,nose_y\na.png,1,2\n")
    assert coco.read_ids(tmp_path / "other.csv") == ({}, 1)
    predictions = predicted(points(1, 1), ("v/ü.png", "c.png"))
    from dataclasses import replace

    coco.write(tmp_path / "r.json", replace(predictions, coco_ids=lambda: coco.read_ids(tmp_path / "coco.json")))
    results = json.loads((tmp_path / "r.json").read_text())
    assert [(result["image_id"], result["category_id"]) for result in results] == [(900, 5), (7, 5)]


@pytest.mark.parametrize("images", [IMAGES, None])
def test_sleap_io_opens_the_file(tmp_path: Path, images: Any) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    all_points = points(1, 2, 0, 1)
    all_points[3][0, 1] = np.nan
    slp.write(tmp_path / "p.slp", predicted(all_points, images, tmp_path / "clip.mp4"))
    assert [path.name for path in tmp_path.iterdir()] == ["p.slp"]
    labels = sleap_io.load_file(str(tmp_path / "p.slp"), open_videos=False)
    assert labels.skeletons[0].node_names == list(SKELETON.names)
    assert labels.skeletons[0].symmetry_names == [["left_ear", "right_ear"]] or [
        set(pair) for pair in labels.skeletons[0].symmetry_names
    ] == [{"left_ear", "right_ear"}]
    assert [tuple(edge) for edge in labels.skeletons[0].edge_names] == [("nose", "left_ear")]
    assert {frame.frame_idx: len(frame.instances) for frame in labels} == {0: 1, 1: 2, 3: 1}
    for frame in labels:
        for instance, subject in zip(frame.instances, all_points[frame.frame_idx], strict=True):
            assert type(instance).__name__ == "PredictedInstance"
            np.testing.assert_array_equal(instance.numpy(), np.round(subject, 3))
            np.testing.assert_allclose(instance.points["score"], [0.3, 0.4667, 0.6333])
    written = labels.video.filename
    folder = tmp_path / "clip.mp4"
    assert written == (str(folder) if images is None else [str(folder / name) for name in images])


def test_formats_are_checked_before_anything_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    check_formats(["coco", "dlc_csv"])
    with pytest.raises(ValueError, match=r"formats=\['dlc_cvs'\]: 'dlc_cvs': did you mean 'dlc_csv'\?"):
        check_formats(["dlc_cvs"])
    for library, name, extra in [("h5py", "dlc_h5", "dlc"), ("sleap_io", "slp", "sleap")]:
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ImportError, match=rf'formats=\[{name}\] needs .*: pip install "softpoint\[{extra}\]"'):
            check_formats([name])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r'needs PyAV.*pip install "softpoint\[video\]"'):
        check_formats([], video=True)
    assert set(FORMATS) == {"coco", "dlc_csv", "dlc_h5", "slp"}


def test_reading_a_table_with_scores_warns_that_they_are_not_labels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_table(tmp_path / "p.csv", predicted(points(1), ("a.png",)))
    with caplog.at_level(logging.INFO, "softpoint"):
        read_labels(tmp_path / "p.csv")
    assert "confidence are not used" in caplog.text
