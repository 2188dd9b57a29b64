"""A model card has the facts of a checkpoint, names missing ones, and shows untrusted text as text."""

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
from softpoint.inference.model_card import model_card, write_card
from softpoint.inference.run_record import escape, fenced
from softpoint.labels.skeleton import Skeleton

TITLES = (
    "Model description", "Training data", "Evaluation results", "Confidence", "Intended uses and limitations",
    "Training procedure", "Licenses", "Files",
)  # fmt: skip

RECORD: dict[str, Any] = {
    "finished": True,
    "command": "softpoint train data=mice epochs=3",
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
    "calibration_radius": 23.44,
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


def test_a_card_has_the_facts_of_the_record(checkpoint: Checkpoint) -> None:
    text = model_card(replace(checkpoint, record=RECORD), {"format": "onnx", "largest difference": "0.003 px"})
    parts = sections(text)
    assert "\n# Keypoint model: mice\n" in text and tuple(parts) == TITLES
    assert "library_name: softpoint" in text and "license: apache-2.0" in text and "type: pck@0.1" in text
    radius = f"{float(checkpoint.net.calibration.radius):.1f} px of the input"
    facts = {
        "Model description": ["64 x 64", *map(escape, NAMES)],
        "Training data": ["| train | 1,200 | 1,300 | 5,100 |", "| test | 7 | - | 28 |"],
        "Evaluation results": [
            "| mean Euclidean error, px (`epe`) | 3.46 | 2.10 to 4.90 |",
            "| fraction of points within 10 % of the subject's scale (`pck@0.1`) | 0.987 | - |",
            "7 images",
        ],
        "Confidence": ["12 %", f"within 23.4 px of the truth in images of the size of the validation split ({radius})"],
        "Intended uses and limitations": [
            "Largest mean errors: tail (9.87 px), nose (1.00 px).",
            "confidence below one half: tail (50 %).",
            "not measured: left\\_ear.",
        ],
        "Training procedure": [RECORD["command"], "12.3 minutes", "some processor", "torch 2.14.1"],
        "Licenses": ["timm resnet18.a1\\_in1k, under apache-2.0", "labels: MIT"],
        "Files": [
            hashlib.sha256(checkpoint.path.read_bytes()).hexdigest(),
            "- format: onnx\n- largest difference: 0.003 px",
        ],
    }
    assert not [fact for title in facts for fact in facts[title] if fact not in parts[title]]
    rows = parts["Evaluation results"].split("worst first")[1].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows if row] == ["tail", "nose", "left\\_ear"]


def test_the_card_of_a_real_run_has_its_numbers(checkpoint: Checkpoint, run: Path) -> None:
    record, written = checkpoint.record, (run / "model_card.md").read_text(encoding="utf-8")
    assert written == model_card(checkpoint) and record["finished"] is True
    assert f"| {record['metrics']['epe']:.2f} |" in sections(written)["Evaluation results"]
    assert hashlib.sha256(checkpoint.path.read_bytes()).hexdigest() in written


def test_missing_facts_are_named(checkpoint: Checkpoint) -> None:
    old = sections(model_card(replace(checkpoint, record={})))
    assert "px of the truth, in pixels of the network's input, 5 % of the usual" in old["Confidence"]
    assert tuple(old) == TITLES
    for title in ("Evaluation results", "Training procedure"):
        assert "from a version that kept no record" in old[title]
    assert "not recorded: measure them" in old["Intended uses and limitations"]
    assert "labels.csv" in old["Training data"] and re.search(r"\| train \| \d+ \|", old["Training data"])
    assert "Starting weights: not recorded" in old["Licenses"] and "ask whoever trained it" in old["Licenses"]
    stopped = sections(
        model_card(replace(checkpoint, record={**RECORD, "finished": False, "metrics": {}, "per_keypoint": {}}))
    )
    assert (
        "stopped before the test" in stopped["Evaluation results"]
        and "not recorded" in stopped["Intended uses and limitations"]
    )
    untested = sections(model_card(replace(checkpoint, record={"finished": True, "starting_weights": None})))
    assert "no test split" in untested["Evaluation results"] and "trained from scratch" in untested["Licenses"]
    bare = sections(model_card(replace(checkpoint, record={}, config={}, splits=None)))
    assert "Not recorded" in bare["Training data"] and "Split: not recorded" in bare["Training data"]


def test_the_card_of_an_uncalibrated_model_claims_no_probability(checkpoint: Checkpoint) -> None:
    net = copy.deepcopy(checkpoint.net)
    net.calibration.radius.zero_()
    assert "Not calibrated" in sections(model_card(replace(checkpoint, net=net)))["Confidence"]


@pytest.mark.parametrize(("units", "few"), [(19, True), (20, False)])
def test_the_card_says_on_how_few_units_the_confidence_rests(checkpoint: Checkpoint, units: int, few: bool) -> None:
    text = sections(model_card(replace(checkpoint, record={**RECORD, "calibration_units": units})))["Confidence"]
    assert f"which has {units} independent images or groups" in text and ("too few to correct" in text) == few


def test_the_card_of_a_model_of_all_images_claims_no_fit(checkpoint: Checkpoint) -> None:
    text = sections(model_card(replace(checkpoint, record={**RECORD, "calibration_units": 0})))["Confidence"]
    assert "as they usually are on other sets" in text and "fitted to the errors" not in text


def test_the_card_of_a_crop_model_asks_for_boxes(checkpoint: Checkpoint) -> None:
    parts = sections(model_card(replace(checkpoint, crops={"padding": 1.25, "boxes": None})))
    assert "crops 1.25 times" in parts["Model description"] and "needs a box" in parts["Intended uses and limitations"]


EVIL = (
    "<script>x</script>\n# Heading | cell | [l](http://a.b) ![i](x) `c` **b** https://a.b www.a.b a@b.c \u202e ~s~ $m"
)


def test_text_of_the_record_is_no_markup(checkpoint: Checkpoint) -> None:
    skeleton = replace(checkpoint.skeleton, names=(EVIL, *NAMES[1:]), edges=())
    words = dict.fromkeys(("data", "labels", "date", "hardware", "network", "starting_weights", "resampled"), EVIL)
    words |= {
        "weights_license": EVIL,
        "data_license": EVIL,
        "versions": {EVIL: EVIL},
        "splits": {EVIL: {"images": 1}},
    }
    record = {**RECORD, **words, "per_keypoint": {EVIL: {"points": 1, "epe": 5.0, "doubtful": 1.0}}}
    text = model_card(replace(checkpoint, skeleton=skeleton, record=record), {EVIL: EVIL})
    assert tuple(sections(text)) == TITLES and len(re.findall("^#", text, flags=re.MULTILINE)) == 1 + len(TITLES)
    outside = re.sub(r"(?s)```.*?```", "", text)
    assert "<" not in outside and not re.search(r"(?<!\\)\]\(|(?<!\\)!\[|(?<!\\)\*\*|https?://|www\.", outside)
    assert "\u202e" not in text
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")]
    assert set(cells) == {3, 4, 7}  # none of the tables has a row of another width


def test_a_command_cannot_leave_its_block(checkpoint: Checkpoint) -> None:
    text = model_card(replace(checkpoint, record={**RECORD, "command": "a\n```\n# x\n````` b"}))
    block = sections(text)["Training procedure"].strip().splitlines()
    assert block[0] == block[2] == "``````" and block[1] == "a ``` # x ````` b"
    assert fenced("plain") == "```\nplain\n```"


@pytest.mark.parametrize(
    "record",
    [
        dict.fromkeys(RECORD, value)
        for value in (None, 5, -1e308, float("nan"), "text", [], [[]], {}, {"a": {}}, {"epe": "x"}, {"epe": [1, 2, 3]})
    ],
)
def test_any_record_makes_a_card(checkpoint: Checkpoint, record: dict[str, Any]) -> None:
    assert tuple(sections(model_card(replace(checkpoint, record=record)))) == TITLES


def test_a_card_is_of_bounded_length(checkpoint: Checkpoint) -> None:
    many = {f"keypoint{i}": {"points": 1, "epe": float(i)} for i in range(4000)}
    splits = {f"split{i}": {"images": 1} for i in range(4000)}
    record = {**RECORD, "per_keypoint": many, "splits": splits, "hardware": "h" * 10**6, "command": "c" * 10**6}
    text = model_card(replace(checkpoint, record=record, skeleton=Skeleton(tuple(many))))
    assert len(text) < 30_000 and "and 3940 more" in text and "keypoint3999" in sections(text)["Evaluation results"]


def test_a_card_is_written_whole_or_not_at_all(checkpoint: Checkpoint, tmp_path: Path, changed: Callable) -> None:
    write_card(checkpoint, tmp_path / "deep" / "model_card.md", {"format": "onnx"})
    path = tmp_path / "deep" / "model_card.md"
    assert path.read_text(encoding="utf-8") == model_card(checkpoint, {"format": "onnx"})
    gone = replace(checkpoint, path=tmp_path / "gone.ckpt")
    with pytest.raises(FileNotFoundError):
        write_card(gone, path)
    assert path.read_text(encoding="utf-8") == model_card(checkpoint, {"format": "onnx"})
    assert [file.name for file in path.parent.iterdir()] == ["model_card.md"]
