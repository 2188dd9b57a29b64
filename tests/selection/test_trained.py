"""Images of a training are known by their full paths alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from softpoint.selection.trained import known_images


def model(paths: list[str], /, **data: Any) -> Any:
    return SimpleNamespace(splits={"train": paths}, data=data)


@pytest.mark.parametrize("stored", [True, False])
def test_bare_names_are_known_and_no_other_folder_is(tmp_path: Path, stored: bool) -> None:
    (tmp_path / "images").mkdir()
    checkpoint = model(["a.png", "images/b.png"], images=str(tmp_path) if stored else "/gone")
    known = known_images(checkpoint, images=None if stored else tmp_path)
    assert known.trained == {f"{tmp_path.resolve().as_posix()}/{name}" for name in ("a.png", "images/b.png")}
    assert known.labeled == ("a.png", "images/b.png")


def test_images_without_a_folder_start_at_their_labels(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("scorer,us,us\nbodyparts,nose,nose\ncoords,x,y\na.png,1,2\n")
    known = known_images(model(["a.png"], labels=str(table), images=None))
    assert known.trained == {f"{tmp_path.resolve().as_posix()}/a.png"} and known.folder == tmp_path.resolve()


@pytest.mark.parametrize("data", [{}, {"images": "/gone"}, {"labels": "/gone.csv"}, {"images": "//host/share"}])
def test_what_is_not_where_it_was_is_unknown(data: dict[str, str]) -> None:
    known = known_images(model(["a.png"], **data))
    assert known.trained is None and known.labeled == ()
    assert known_images(model([], **data)).trained == frozenset()
