"""One rule for missing points in every format: words, (-1, -1), repeated (0, 0), and what data.missing lists."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.labels import images, labels_of, written
from softpoint.labels.formats import read_labels
from softpoint.labels.load import load_labels
from softpoint.labels.missing import WORDS, repeated_points, without_marks
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.source import LabelSource

POINTS = [("a.png", (5, 6), None), ("b.png", None, (3, 4)), ("c.png", (1, 2), None), ("d.png", (7, 8), (9, 3))]


def wide(mark: str) -> str:
    rows = [",".join([image, *(f"{p[0]},{p[1]}" if p else mark for p in points)]) for image, *points in POINTS]
    return "\n".join(["image,nose_x,nose_y,tail_x,tail_y", *rows])


def long(mark: str) -> str:
    rows = [
        f"{image},{name}," + (f"{point[0]},{point[1]}" if point else mark)
        for image, *points in POINTS
        for name, point in zip(("nose", "tail"), points, strict=True)
    ]
    return "\n".join(["image,keypoint,x,y", *rows])


def deeplabcut(mark: str) -> str:
    header = "scorer,me,me,me,me\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y"
    return "\n".join([header, *wide(mark).splitlines()[1:]])


def coco(mark: str) -> str:
    values = [None if word in WORDS else float(word) for word in mark.split(",")]
    return json.dumps(
        {
            "images": [{"id": i, "file_name": image} for i, (image, *_) in enumerate(POINTS)],
            "annotations": [
                {"image_id": i, "category_id": 1, "keypoints": [v for p in points for v in (*(p or values), 2)]}
                for i, (_, *points) in enumerate(POINTS)
            ],
            "categories": [{"id": 1, "name": "x", "keypoints": ["nose", "tail"]}],
        }
    )


def deeplabcut_of_animals(mark: str) -> str:
    header = "scorer,me,me,me,me\nindividuals,m1,m1,m1,m1\n"
    return header + deeplabcut(mark).partition("\n")[2]


@pytest.mark.parametrize("write", [wide, long, deeplabcut, deeplabcut_of_animals, coco])
@pytest.mark.parametrize("mark", ["-1,-1", "0,0", "-1.0,-1.0", *(f"{word},{word}" for word in sorted(WORDS))])
def test_a_marked_point_is_unlabeled_in_every_format(tmp_path: Path, write, mark: str) -> None:
    labels = read_labels(written(tmp_path, write(mark), "labels.json" if write is coco else "labels.csv"))
    assert labels.visibility.tolist() == [[2, 0], [0, 2], [2, 0], [2, 2]]
    np.testing.assert_array_equal(labels.keypoints[:, 0], [[5, 6], [np.nan] * 2, [1, 2], [7, 8]])


def test_marked_points_are_counted_and_can_be_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, wide("-1,-1"))
    read_labels(path)
    assert "left out 3 points at exactly (-1, -1), which mark missing ones (data.missing=none" in caplog.text
    assert (read_labels(path, missing="none").visibility == 2).all()
    assert read_labels(path, missing=[[1, 2]]).visibility.tolist() == [[2, 0], [0, 2], [0, 0], [2, 2]]


def test_a_single_point_in_the_corner_stays() -> None:
    labels = labels_of(["a.png"])
    labels = replace(labels, subjects=(replace(labels.subjects[0], keypoints=np.array([[0.0, 0.0], [3, 3]])),))
    assert (without_marks(labels).visibility == 2).all()
    assert without_marks(labels, [[0, 0]]).visibility.tolist() == [[0, 2]]


def tps(points: list[str]) -> str:
    return "".join(f"LM=2\n{point}\n{i + 2} 3\nIMAGE={i}.png\n" for i, point in enumerate(points))


@pytest.mark.parametrize("mark", ["-1 -1", "0 0", "-5 -5"])
@pytest.mark.parametrize("flags", [None, "", " 2"], ids=["tps", "yolo", "yolo with flags"])
def test_marks_are_found_as_the_file_writes_them(tmp_path: Path, flags: str | None, mark: str) -> None:
    points, folder = [mark, mark, "0.5 0.25", mark], tmp_path / "images"
    folder.mkdir()
    for i in range(4):
        Image.new("L", (40, 20 + i)).save(folder / f"{i}.png")
    if flags is None:
        path = written(folder, tps(points), "labels.tps")
    else:
        path = written(tmp_path, f"train: images\nkpt_shape: [2, {3 if flags else 2}]\nnames: [a]", "data.yaml")
        (tmp_path / "labels").mkdir()
        for i, point in enumerate(points):
            text = f"0 .5 .5 .9 .9 {point}{flags} 0.{i + 2} 0.3{flags}"
            written(tmp_path / "labels", text, f"{i}.txt")
    wanted = [[0, 2], [0, 2], [2, 2], [0, 2]]
    assert read_labels(path, missing=[[-5, -5]]).visibility.tolist() == wanted
    assert read_labels(path).visibility.tolist() == (wanted if "5" not in mark or flags == "" else [[2, 2]] * 4)
    kept = read_labels(path, missing="none")
    assert (kept.visibility > 0).sum() == (5 if flags == "" and "-" in mark else 8)
    if flags is None:
        x, y = map(float, mark.split())
        np.testing.assert_array_equal(kept.keypoints[:2, 0], [[x, 20 - y], [x, 21 - y]])


@pytest.mark.parametrize("words", [(None, None), (float("nan"), float("nan")), (-1, -1), (0, 0)])
def test_a_json_file_per_image_marks_points_too(tmp_path: Path, words: tuple) -> None:
    for i in range(2):
        text = json.dumps({"bboxes": [[0, 0, 9, 9]], "keypoints": [[[*words, 2], [1, i + 1, 2]]]})
        written(tmp_path, text, f"{i}.json")
        (tmp_path / f"{i}.png").write_bytes(b"")
    assert read_labels(tmp_path).visibility.tolist() == [[0, 2], [0, 2]]


@pytest.mark.parametrize("word", ["NA", "nan", "None", "null"])
@pytest.mark.parametrize("flag", ["", " 2"])
def test_yolo_takes_words_for_missing_points(tmp_path: Path, word: str, flag: str) -> None:
    (tmp_path / "images").mkdir()
    Image.new("L", (40, 20)).save(tmp_path / "images/a.png")
    path = written(tmp_path, f"train: images\nkpt_shape: [2, {3 if flag else 2}]\nnames: [a]", "data.yaml")
    written(tmp_path, f"0 .5 .5 .9 .9 {word} {word}{flag} .5 .5{flag}", "labels/a.txt")
    assert read_labels(path).visibility.tolist() == [[0, 2]]


@pytest.mark.parametrize("value", ["nan", [-1, -1], [[1, 2, 3]], [["a", "b"]], [[1], [1, 2]]])
def test_a_wrong_value_of_data_missing_is_refused(value) -> None:
    with pytest.raises(ValueError, match=r"data.missing=.*: write auto, none, or a list of points"):
        LabelSource("labels.csv", missing=value)


def test_a_subject_of_marks_alone_is_left_out_beside_others(tmp_path: Path) -> None:
    text = "image,subject,nose_x,nose_y\na.png,m1,-1,-1\na.png,m2,3,4\nb.png,m1,-1,-1\nb.png,m2,-1,-1\n"
    assert read_labels(written(tmp_path, text)).places == ("line 3", "line 4")


def test_repeated_coordinates_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [f"{i}.png,{i},{i % 7},{5.12345678 if i < 6 else i},4" for i in range(9)]
    path = written(tmp_path, "\n".join(["image,nose_x,nose_y,tail_x,tail_y", *rows]))
    images(tmp_path, read_labels(path))
    ((keypoint, point, subjects),) = repeated_points(read_labels(path))
    assert (keypoint, point.tolist(), subjects.tolist()) == (1, [5.12345678, 4], [0, 1, 2, 3, 4, 5])
    with caplog.at_level(logging.WARNING):
        load_labels(LabelSource(path))
    assert "tail is at exactly (5.12345678, 4) in 6 images; if that means that it is missing," in caplog.text
    assert "set 'data.missing=[[5.12345678,4]]'" in caplog.text  # which a rounded number would not match
    caplog.clear()
    assert (load_labels(LabelSource(path, missing=[[5.12345678, 4]])).labels.visibility[:6, 1] == 0).all()


def test_a_rare_mark_is_found_where_it_stands_alone_in_several_videos() -> None:
    def moved(groups: int, spot: tuple[float, float], scale: float) -> Labels:
        labels = labels_of([f"v{i % groups}/{i}.png" for i in range(300)])
        points = np.random.default_rng(0).normal((20, 20), scale, (300, 2, 2)).round()
        points[:6, 1] = spot
        return replace(labels, subjects=tuple(map(at, labels.subjects, points)))

    def at(subject: Subject, points: np.ndarray) -> Subject:
        return replace(subject, keypoints=points)

    ((keypoint, point, rows),) = repeated_points(moved(3, (1, 1), 5))
    assert (keypoint, point.tolist(), rows.tolist()) == (1, [1, 1], [*range(6)])
    assert not repeated_points(moved(3, (20, 20), 5))  # among others of whole pixels
    assert not repeated_points(moved(300, (20, 20), 5))
    one = moved(2, (1, 1), 5)
    still = [replace(s, group="still" if i < 6 else "other") for i, s in enumerate(one.subjects)]
    assert not repeated_points(replace(one, subjects=tuple(still)))  # copied from frame to frame


def test_a_keypoint_that_is_always_at_one_position_is_a_warning(tmp_path: Path) -> None:
    rows = [f"{i}.png,{i},{i},1,1" for i in range(1, 7)]
    labels = read_labels(written(tmp_path, "\n".join(["image,nose_x,nose_y,tail_x,tail_y", *rows])))
    ((keypoint, point, subjects),) = repeated_points(labels)
    assert (keypoint, point.tolist(), len(subjects)) == (1, [1, 1], 6)


@pytest.mark.parametrize(
    ("name", "count"),
    [("minus1.csv", 16), ("dlc_minus1.csv", 16), ("none.csv", 16), ("null.csv", 16), ("coco_minus1_v2.json", 10)],
)
def test_real_files_with_marks_agree_with_empty_cells(data_root: Path, name: str, count: int) -> None:
    folder = data_root / "cases" / "missing"
    labels, empty = read_labels(folder / name), read_labels(folder / "na.csv")
    assert (labels.visibility == 0).sum() == count and labels.skeleton.names == empty.skeleton.names
    both = (labels.visibility > 0) & (empty.visibility > 0)
    np.testing.assert_array_equal(labels.keypoints[both], empty.keypoints[both])
