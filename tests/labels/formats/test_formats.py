"""A label format is one module with three public names and a line in FORMATS."""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
from pathlib import Path

import numpy as np
import pytest

from helpers.labels import written
from softpoint.labels import formats
from softpoint.labels.formats import FORMATS, read_labels, recognize

TOY = '''
"""One point per image, as "image x y" after a first line POINTS."""

from pathlib import Path

import numpy as np

from softpoint.labels.formats.parsing.rows import parse_float, visibility_of
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton

DESCRIPTION = "a text file that begins with POINTS"


def recognize(path: Path, head: bytes) -> bool:
    return head.startswith(b"POINTS")


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    subjects = []
    for number, line in enumerate(path.read_text().splitlines()[1:], 2):
        with errors.row(f"line {number}"):
            image, x, y = line.split()
            points = np.array([[parse_float(x), parse_float(y)]])
            subjects.append(Subject(image, f"line {number}", points, visibility_of(points)))
    return Labels(str(path), str(path.parent), Skeleton(("point",)), tuple(subjects))
'''


def test_a_format_is_one_module_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("toy", written(tmp_path, TOY, "toy.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = written(tmp_path, "POINTS\na.png 1 2.5\nb.png nan nan\n", "labels.txt")
    with pytest.raises(ValueError, match="no known label format"):
        recognize(path)
    monkeypatch.setitem(FORMATS, "toy", module)
    labels = read_labels(path)
    assert recognize(path) == "toy" and labels.images == ("a.png", "b.png")
    np.testing.assert_array_equal(labels.keypoints[0], [[1, 2.5]])
    written(tmp_path, "POINTS\na.png 1 x\nb.png 3 4\n", "labels.txt")
    with pytest.raises(ValueError, match=r"labels.txt line 2: 'x' is not a number; .* data.on_error=skip"):
        read_labels(path)
    assert read_labels(path, on_error="skip").images == ("b.png",)
    with pytest.raises(ValueError, match=r"(?s)toy: a text file that begins with POINTS"):
        recognize(written(tmp_path, "nothing"))


def test_every_module_is_registered_with_the_same_three_names() -> None:
    modules = {module.name for module in pkgutil.iter_modules(formats.__path__) if not module.ispkg}
    assert modules == set(FORMATS)
    for format in FORMATS.values():
        assert format.DESCRIPTION and list(inspect.signature(format.recognize).parameters) == ["path", "head"]
        assert list(inspect.signature(format.read).parameters)[:3] == ["path", "errors", "images"]


def test_a_folder_names_the_labels_in_it_and_a_file_the_folder_that_it_is_of(tmp_path: Path) -> None:
    for name in ("annotations/person_keypoints_default.json", "test.csv"):
        written(tmp_path, '{"images": [], "annotations": []}' if "json" in name else "image,a_x,a_y\n", name)
    written(tmp_path, "nothing", "images/notes.json")
    with pytest.raises(ValueError, match="is a folder that holds labels; name one of these") as error:
        recognize(tmp_path)
    assert str(error.value).splitlines()[1:] == [
        f"  {tmp_path}/test.csv",
        f"  {tmp_path}/annotations/person_keypoints_default.json",
    ]
    for name, text, kind in (
        ("a/img_keypoints.json", '{"people": []}', "openpose"),
        ("b/img.json", '{"shapes": [], "imagePath": "img.png"}', "labelme"),
    ):
        path = written(tmp_path, text, name)
        with pytest.raises(ValueError, match=rf"but its folder is \({kind}\); name {path.parent}\Z"):
            recognize(path)
