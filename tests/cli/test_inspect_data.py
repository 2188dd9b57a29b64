"""The inspect command reports on what training would take, and on what it refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.changes import ROWS, applied
from helpers.labels import images, written
from helpers.training import read_csv, write_labels
from softpoint.audit.fixes import Change
from softpoint.images.decode import read_image
from softpoint.labels.formats import read_labels
from softpoint.labels.row_errors import RowErrors

COCO = """{"images": [{"id": 7, "file_name": "a.png"}], "categories": [{"id": 1, "name": "m", "keypoints": ["nose"]}],
"annotations": [{"id": 9, "image_id": 7, "category_id": 1, "keypoints": [3, 4, 2], "track_id": 5}]}"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    return [
        *write_labels(tmp_path / "data"),
        "data.val=0.2",
        "data.test=0.2",
        f"output={tmp_path / 'out'}",
        f"data.cache_dir={tmp_path / 'cache'}",
    ]


def change(path: Path, line: int, column: int, value: str) -> None:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[line - 1][column] = value
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def report(folder: Path) -> dict:
    return json.loads((folder / "out" / "report.json").read_text())


def test_good_labels_end_with_code_0(start: Callable, tmp_path: Path, words: list[str]) -> None:
    ending = start("inspect", *words)
    assert ending.code == 0, ending.err
    assert "12 subjects in 12 images" in ending.out and "left_ear" in ending.out
    found = report(tmp_path)
    assert found["findings"] == [] and not found["has_errors"]
    assert sum(found["splits"].values()) == 12 and set(found["splits"]) == {"train", "val", "test"}
    assert found["sizes"] == {"64x64": 4, "96x48": 4, "61x90": 4}
    page = read_image(tmp_path / "out" / "images.png")
    assert page.shape[0] > 400 and page.std() > 20
    assert not (tmp_path / "out" / "findings.png").exists()
    (memo,) = (tmp_path / "cache").glob("*.json")
    assert len(json.loads(memo.read_text())["scans"]) == 12


def test_what_training_refuses_is_reported(start: Callable, tmp_path: Path, words: list[str]) -> None:
    folder = tmp_path / "data"
    broken = folder / "video1" / "img05.png"
    broken.write_bytes(broken.read_bytes()[:200])
    (folder / "video0" / "img04.png").write_bytes((folder / "video0" / "img00.png").read_bytes()[:60])
    change(folder / "labels.csv", 10, 1, "5000")
    (folder / "video2" / "extra.png").write_bytes((folder / "video2" / "img02.png").read_bytes())
    ending = start("inspect", *words)
    assert ending.code == 1 and "Traceback" not in ending.err
    found = {finding["kind"]: finding for finding in report(tmp_path)["findings"]}
    assert set(found) == {"unreadable", "out_of_frame", "unlabeled_duplicate"}
    assert found["unreadable"]["count"] == 2 and found["out_of_frame"]["examples"][0]["place"] == "line 10"
    assert "subjects with points outside their image: 1" in ending.out
    assert report(tmp_path)["has_errors"] and report(tmp_path)["sizes"]["unknown"] == 2
    assert (tmp_path / "out" / "findings.png").is_file()


def test_what_training_leaves_out_is_a_warning(start: Callable, tmp_path: Path, words: list[str]) -> None:
    change(tmp_path / "data" / "labels.csv", 10, 1, "5000")
    ending = start("inspect", *words, "data.out_of_frame=drop")
    assert ending.code == 0
    (finding,) = report(tmp_path)["findings"]
    assert (finding["kind"], finding["severity"]) == ("out_of_frame", "warning")


def test_a_row_that_cannot_be_read_is_reported_once(start: Callable, tmp_path: Path, words: list[str]) -> None:
    change(tmp_path / "data" / "labels.csv", 7, 1, "many")
    ending = start("inspect", *words)
    assert ending.code == 1 and (ending.out + ending.err).count("'many'") == 1
    found = report(tmp_path)
    assert found["subjects"] == 12 and sum(found["splits"].values()) == 11  # which training would use
    kinds = {finding["kind"]: finding for finding in found["findings"]}
    assert kinds["unreadable_row"]["examples"][0]["place"] == "line 7" and not {"refused", "unlabeled"} & {*kinds}


def test_labels_of_which_no_row_can_be_read_are_refused_with_their_rows(start: Callable, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,nose_x,nose_y\na.png,1\nb.png,2\n")
    ending = start("inspect", f"data.labels={tmp_path / 'labels.csv'}")
    assert ending.code == 1 and "labels no image; no row can be used" in ending.err
    assert "line 2: " in ending.err and "line 3: " in ending.err


def test_a_refusal_that_no_finding_states_is_reported_once(start: Callable, tmp_path: Path, words: list[str]) -> None:
    ending = start("inspect", *words, "data.group=png")
    assert ending.code == 1 and (ending.out + ending.err).count("'png'") == 2  # the setting, and what it finds
    (refused,) = report(tmp_path)["findings"]
    assert refused["kind"] == "refused" and "finds 'png' in every path" in refused["message"]


def test_keypoints_and_pairs_of_the_config_are_used(start: Callable, tmp_path: Path, words: list[str]) -> None:
    ending = start("inspect", *words, "data.keypoints=[tail,nose]", "data.edges=[[nose,tail]]")
    assert ending.code == 0
    assert [row["name"] for row in report(tmp_path)["keypoints"]] == ["tail", "nose"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("data.labels=/nowhere.csv", "/nowhere.csv"),
        ("data.keypoints=[nsoe]", "no keypoint is named 'nsoe'; did you mean 'nose'"),
        ("data=streaming", "has no data.labels to inspect"),
        ("data.lables=x", "unknown key 'data.lables'; did you mean 'data.labels'"),
    ],
)
def test_mistakes_end_in_one_line(start: Callable, words: list[str], word: str, said: str) -> None:
    words = [] if word == "data=streaming" else words
    ending = start("inspect", *words, word)
    assert ending.code == 1 and said in ending.err and "Traceback" not in ending.err


def test_painted_scenes_are_only_drawn(start: Callable, tmp_path: Path) -> None:
    ending = start("inspect", "data=synthetic", f"output={tmp_path / 'out'}", "images=3")
    assert ending.code == 0 and "nothing to inspect" in ending.out
    assert read_image(tmp_path / "out" / "images.png").std() > 20


@pytest.mark.parametrize("name", ["clean.csv", "clean.json"])
def test_the_command_writes_what_it_lists(start: Callable, tmp_path: Path, name: str) -> None:
    path = written(tmp_path, ROWS.replace("m2,2.5", "m2,many"))
    images(tmp_path, read_labels(path, on_error="skip"), (30, 40))
    (tmp_path / "v" / "e.png").rename(tmp_path / "v" / "seen.png")
    path.write_text(path.read_text().replace("v/e.png", "v/seen.pgn"))
    before = path.read_bytes()
    words = [f"data.labels={path}", f"output={tmp_path / 'out'}", f"data.cache_dir={tmp_path}", "data.mode=instance"]
    ending = start("inspect", *words, f"fix={tmp_path / name}")
    assert ending.code == 0, ending.out + ending.err
    assert path.read_bytes() == before and "left in" in ending.out
    changes = [Change(**row) for row in read_csv(tmp_path / "out" / "fixes.csv")]
    assert changes[-1][:4] == ("line 3", "v/a.png", "blanked", "l_ear") and "'many'" in changes[-1].detail
    raw = read_labels(path, missing="none", errors=RowErrors(str(path), silent=True))
    again, expected = read_labels(tmp_path / name), applied(raw, changes[:-1])
    assert again.images == expected.images and "v/seen.png" in again.images
    np.testing.assert_array_equal(again.keypoints, expected.keypoints)
    np.testing.assert_array_equal(again.visibility, expected.visibility)
    ending = start("inspect", *words, f"fix={tmp_path / name}")
    assert ending.code == 1 and "exists, and no file is overwritten" in ending.err


@pytest.mark.parametrize("name", ["report.json", "fixes.csv"])
def test_outputs_replace_neither_labels_nor_each_other(start: Callable, tmp_path: Path, name: str) -> None:
    path = written(tmp_path, ROWS)
    ending = start("inspect", f"data.labels={path}", f"output={tmp_path}", f"fix={tmp_path / name}")
    assert ending.code == 1 and f"would write {name} over {tmp_path / name}" in ending.err
    before = path.rename(tmp_path / "fixes.csv").read_bytes()
    ending = start("inspect", f"data.labels={tmp_path / 'fixes.csv'}", f"output={tmp_path}")
    assert ending.code == 1 and "name another folder" in ending.err
    assert [file.name for file in tmp_path.iterdir()] == ["fixes.csv"]
    assert (tmp_path / "fixes.csv").read_bytes() == before


def test_a_split_of_the_user_is_not_replaced(start: Callable, tmp_path: Path) -> None:
    for split in ("train", "valid"):
        path = written(tmp_path, COCO.replace("a.png", f"{split}.png"), f"set/{split}/_annotations.coco.json")
        images(path.parent, read_labels(path), (30, 40))
    splits = written(tmp_path, "precious", "clean.splits.csv")
    words = [f"data.labels={tmp_path / 'set'}", f"output={tmp_path / 'out'}", f"data.cache_dir={tmp_path}"]
    ending = start("inspect", *words, f"fix={tmp_path / 'clean.csv'}")
    assert ending.code == 1 and f"{splits}, for the split that" in ending.err and "name another fix=" in ending.err
    assert splits.read_text() == "precious" and not (tmp_path / "clean.csv").exists()
    ending = start("inspect", *words, f"fix={tmp_path / 'other.json'}")
    lost = [change["detail"] for change in read_csv(tmp_path / "out" / "fixes.csv") if change["change"] == "left out"]
    assert lost == ["2 id of images", "2 id of annotations", "2 track_id of annotations"], ending.err
    assert "3 left out" in ending.out
