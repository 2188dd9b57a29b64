"""A model card says what a checkpoint knows, names what it does not, and lets no stranger's text act."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.training import NAMES
from softpoint.inference import Checkpoint, read_checkpoint
from softpoint.inference.markdown import escape, fenced, table
from softpoint.inference.model_card import card, write_card
from softpoint.labels.skeleton import Skeleton

TITLES = ("What it is", "Data", "Accuracy", "Confidence", "Use, and where it fails", "Training", "Licenses", "File")

RECORD: dict[str, Any] = {
    "finished": True,
    "command": "python scripts/train.py data=mice epochs=3",
    "date": "2026-01-02",
    "minutes": 12.34,
    "hardware": "2 CPU cores (some processor)",
    "data": "mice",
    "data_license": "MIT",
    "splits": {"train": {"images": 1200, "subjects": 1300, "points": 5100}, "test": {"images": 7, "points": 28}},
    "starting_weights": "timm resnet18.a1_in1k",
    "weights_license": "apache-2.0",
    "versions": {"softpoint": "0.1.0", "torch": "2.14.1"},
    "metrics": {"epe": 3.456, "pck@0.1": 0.987},
    "intervals": {"epe": [2.1, 4.9]},
    "resampled": "7 images",
    "doubtful": 0.125,
    "per_keypoint": {
        "nose": {"points": 7, "epe": 1.0, "median": 0.9, "p95": 2.0, "pck@0.1": 1.0, "doubtful": 0.0},
        "tail": {"points": 6, "epe": 9.87, "median": 8.0, "p95": 20.0, "pck@0.1": 0.5, "doubtful": 0.5},
        "left_ear": {"points": 0},
    },
}


@pytest.fixture(scope="module")
def checkpoint(run: Path) -> Checkpoint:
    return read_checkpoint(run / "checkpoints" / "best.ckpt")


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_a_card_says_what_the_record_knows(checkpoint: Checkpoint) -> None:
    text = card(replace(checkpoint, record=RECORD), {"format": "onnx", "largest difference": "0.003 px"})
    found = sections(text)
    assert text.startswith("# Keypoint model: mice\n") and tuple(found) == TITLES
    assert "64 x 64" in found["What it is"] and all(escape(name) in found["What it is"] for name in NAMES)
    assert "| train | 1,200 | 1,300 | 5,100 |" in found["Data"] and "| test | 7 | - | 28 |" in found["Data"]
    assert "| mean error, px of the original image | 3.46 | 2.10 to 4.90 |" in found["Accuracy"]
    assert "| points within 10 % of the subject's size | 0.987 | - |" in found["Accuracy"]
    order = [line.split("|")[1].strip() for line in found["Accuracy"].split("worst first")[1].splitlines()[2:] if line]
    assert order == ["tail", "nose", "left\\_ear"]
    assert "7 images" in found["Accuracy"] and "12 %" in found["Confidence"]
    assert (
        f"{float(checkpoint.net.calibration.radius):.1f} px of the truth" in found["Confidence"]
        and "5 % of the usual" in found["Confidence"]
    )
    use = found["Use, and where it fails"]
    assert "Least exact on average: tail (9.87 px), nose (1.00 px)." in use
    assert "confidence below one half: tail (50 %)." in use and "not measured: left\\_ear." in use
    assert RECORD["command"] in found["Training"] and "12.3 minutes" in found["Training"]
    assert "some processor" in found["Training"] and "torch 2.14.1" in found["Training"]
    assert "timm resnet18.a1\\_in1k, under apache-2.0" in found["Licenses"] and "labels: MIT" in found["Licenses"]
    assert hashlib.sha256(checkpoint.path.read_bytes()).hexdigest() in found["File"]
    assert "- format: onnx\n- largest difference: 0.003 px" in found["File"]


def test_the_card_of_a_real_run_has_its_numbers(checkpoint: Checkpoint, run: Path) -> None:
    record, written = checkpoint.record, (run / "model_card.md").read_text(encoding="utf-8")
    assert written == card(checkpoint) and record["finished"] is True
    assert f"| {record['metrics']['epe']:.2f} |" in sections(written)["Accuracy"]
    assert hashlib.sha256(checkpoint.path.read_bytes()).hexdigest() in written


def test_what_is_missing_is_said(checkpoint: Checkpoint) -> None:
    old = sections(card(replace(checkpoint, record={})))
    assert tuple(old) == TITLES
    for title in ("Accuracy", "Training"):
        assert "from before such facts were kept" in old[title]
    assert "not recorded: measure it" in old["Use, and where it fails"]
    assert "labels.csv" in old["Data"] and re.search(r"\| train \| \d+ \|", old["Data"])
    assert "Starting weights: not recorded" in old["Licenses"] and "ask who trained it" in old["Licenses"]
    stopped = sections(
        card(replace(checkpoint, record={**RECORD, "finished": False, "metrics": {}, "per_keypoint": {}}))
    )
    assert "stopped before the test" in stopped["Accuracy"] and "not recorded" in stopped["Use, and where it fails"]
    untested = sections(card(replace(checkpoint, record={"finished": True, "starting_weights": None})))
    assert "no test split" in untested["Accuracy"] and "Started from no weights" in untested["Licenses"]
    bare = sections(card(replace(checkpoint, record={}, config={}, splits=None)))
    assert "Not recorded" in bare["Data"] and "Split: not recorded" in bare["Data"]


def test_an_uncalibrated_model_claims_no_probability(checkpoint: Checkpoint) -> None:
    net = copy.deepcopy(checkpoint.net)
    net.calibration.radius.zero_()
    assert "Not calibrated" in sections(card(replace(checkpoint, net=net)))["Confidence"]


def test_crops_are_said_to_want_boxes(checkpoint: Checkpoint) -> None:
    found = sections(card(replace(checkpoint, crops={"padding": 1.25, "boxes": None})))
    assert "crops 1.25 times" in found["What it is"] and "wants a box" in found["Use, and where it fails"]


EVIL = (
    "<script>x</script>\n# Heading | cell | [l](http://a.b) ![i](x) `c` **b** https://a.b www.a.b a@b.c \u202e ~s~ $m"
)


def test_a_strangers_text_stays_text(checkpoint: Checkpoint) -> None:
    skeleton = replace(checkpoint.skeleton, names=(EVIL, *NAMES[1:]), edges=())
    words = dict.fromkeys(("data", "labels", "date", "hardware", "network", "starting_weights", "resampled"), EVIL)
    words |= {
        "weights_license": EVIL,
        "data_license": EVIL,
        "versions": {EVIL: EVIL},
        "splits": {EVIL: {"images": 1}},
    }
    record = {**RECORD, **words, "per_keypoint": {EVIL: {"points": 1, "epe": 5.0, "doubtful": 1.0}}}
    text = card(replace(checkpoint, skeleton=skeleton, record=record), {EVIL: EVIL})
    assert tuple(sections(text)) == TITLES and len(re.findall("^#", text, flags=re.MULTILINE)) == 1 + len(TITLES)
    outside = re.sub(r"(?s)```.*?```", "", text)
    assert "<" not in outside and not re.search(r"(?<!\\)\]\(|(?<!\\)!\[|(?<!\\)\*\*|https?://|www\.", outside)
    assert "\u202e" not in text
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")]
    assert set(cells) == {3, 4, 7}  # none of the tables has a row of another width


def test_a_command_cannot_leave_its_block(checkpoint: Checkpoint) -> None:
    text = card(replace(checkpoint, record={**RECORD, "command": "a\n```\n# x\n````` b"}))
    block = sections(text)["Training"].strip().splitlines()
    assert block[0] == block[2] == "``````" and block[1] == "a ``` # x ````` b"
    assert fenced("plain") == ["```", "plain", "```"]


@pytest.mark.parametrize(
    "record",
    [
        dict.fromkeys(RECORD, value)
        for value in (None, 5, -1e308, float("nan"), "text", [], [[]], {}, {"a": {}}, {"epe": "x"}, {"epe": [1, 2, 3]})
    ],
)
def test_any_record_makes_a_card(checkpoint: Checkpoint, record: dict[str, Any]) -> None:
    assert tuple(sections(card(replace(checkpoint, record=record)))) == TITLES


def test_a_card_is_of_bounded_length(checkpoint: Checkpoint) -> None:
    many = {f"keypoint{i}": {"points": 1, "epe": float(i)} for i in range(4000)}
    splits = {f"split{i}": {"images": 1} for i in range(4000)}
    record = {**RECORD, "per_keypoint": many, "splits": splits, "hardware": "h" * 10**6, "command": "c" * 10**6}
    text = card(replace(checkpoint, record=record, skeleton=Skeleton(tuple(many))))
    assert len(text) < 30_000 and "and 3940 more" in text and "keypoint3999" in sections(text)["Accuracy"]


def test_a_card_is_written_whole_or_not_at_all(checkpoint: Checkpoint, tmp_path: Path, changed: Callable) -> None:
    write_card(checkpoint, tmp_path / "deep" / "model_card.md", {"format": "onnx"})
    path = tmp_path / "deep" / "model_card.md"
    assert path.read_text(encoding="utf-8") == card(checkpoint, {"format": "onnx"})
    gone = replace(checkpoint, path=tmp_path / "gone.ckpt")
    with pytest.raises(FileNotFoundError):
        write_card(gone, path)
    assert path.read_text(encoding="utf-8") == card(checkpoint, {"format": "onnx"})
    assert [found.name for found in path.parent.iterdir()] == ["model_card.md"]


def test_tables_have_as_many_cells_as_headings() -> None:
    assert table(["a", "b", "c"], [["1", "2", "3"]]) == ["| a | b | c |", "| --- | ---: | ---: |", "| 1 | 2 | 3 |"]
