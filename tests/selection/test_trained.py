"""Images of a training are known by their full paths alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from softpoint.labels.formats import read_labels
from softpoint.selection.trained import known_images, labeled_boxes

TABLE = "scorer,us,us,us,us\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"


def model(paths: list[str], /, crops: dict[str, str] | None = None, **data: Any) -> Any:
    return SimpleNamespace(splits={"train": paths}, data=data, crops=crops)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("stored", [True, False])
def test_bare_names_are_known_and_no_other_folder_is(tmp_path: Path, stored: bool) -> None:
    touch(tmp_path, "a.png", "images/b.png")
    checkpoint = model(["a.png", "images/b.png"], images=str(tmp_path) if stored else "/gone")
    known = known_images(checkpoint, images=None if stored else tmp_path)
    assert known.paths == {f"{tmp_path.resolve().as_posix()}/{name}" for name in ("a.png", "images/b.png")}
    assert known.labeled == ("a.png", "images/b.png")


def test_images_without_a_folder_start_at_their_labels(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(TABLE + "a.png,1,2,,\n")
    touch(tmp_path, "a.png")
    known = known_images(model(["a.png"], labels=str(table), images=None))
    assert known.paths == {f"{tmp_path.resolve().as_posix()}/a.png"} and known.folder == tmp_path.resolve()


@pytest.mark.parametrize("data", [{}, {"images": "/gone"}, {"labels": "/gone.csv"}, {"images": "//host/share"}])
def test_what_is_not_where_it_was_is_unknown(data: dict[str, str]) -> None:
    known = known_images(model(["a.png"], **data))
    assert not known.complete and known.labeled == () and known.paths == frozenset()
    assert known_images(model([], **data)).complete


def test_a_folder_that_has_few_of_the_images_is_another_one(tmp_path: Path) -> None:
    names = [f"img{i}.png" for i in range(30)]
    touch(tmp_path, *names[:5])
    assert not known_images(model(names), images=tmp_path).complete
    touch(tmp_path, *names[:20], "film.avi")
    assert known_images(model(names), images=tmp_path).complete  # some may have been removed
    assert known_images(model(["film.avi/000003"]), images=tmp_path).complete


def test_labeled_images_are_known_where_those_of_the_model_are_gone(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(TABLE + "a.png,1,2,,\nday1/../b.png,1,2,3,4\nempty.png,,,,\n")
    known = known_images(model(["gone.png"], images="/gone"), read_labels(str(tmp_path / "labels.csv")))
    assert known.labeled == ("a.png", "b.png") and not known.complete
    assert known.paths == {f"{tmp_path.resolve().as_posix()}/{name}" for name in known.labeled}


@pytest.mark.parametrize("given", [True, False])
def test_labeled_images_have_the_boxes_of_their_labels(tmp_path: Path, given: bool) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(TABLE + "a.png,1,2,11,22\n")
    labels = read_labels(str(path)) if given else None
    found = labeled_boxes(model([], {"boxes": "keypoints"}, labels="" if given else str(path)), labels)
    assert found is not None and found["a.png"].tolist() == [[0.5, 1.5, 11.5, 22.5]]
    assert labeled_boxes(model([], labels="/gone.csv")) is None


def test_boxes_of_sets_that_share_the_trained_keypoints_alone_are_found(tmp_path: Path) -> None:
    paths = [tmp_path / name / "x.csv" for name in "ab"]
    for path, other in zip(paths, ("ear", "tail"), strict=True):
        path.parent.mkdir()
        path.write_text(f"image,nose_x,nose_y,{other}_x,{other}_y\n0.png,1,2,11,22\n")
    stored = model([], {"boxes": "keypoints"}, labels=[*map(str, paths)], keypoints=["nose"])
    assert labeled_boxes(stored) is not None
