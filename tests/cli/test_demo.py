"""The demo prints the published numbers, and writes figures that describe themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from softpoint.cli.demo import softmax
from softpoint.viz import write_image


def test_attention_prints_the_published_numbers(start: Callable, tmp_path: Path) -> None:
    ending = start("demo", "attention", "size=16", f"output={tmp_path / 'out'}")
    assert ending.code == 0, ending.err
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in ending.out.splitlines() if "│" in line]
    assert ["sample 0", "0.4861", "0.2412", "0.2727"] in rows
    for row in (("0.5", "0.58098", "0.06029"), ("1", "0.41935", "0.05250"), ("2", "0.46876", "0.01780")):
        assert [f"T = {row[0]}", *row[1:]] in rows
    assert ["T = 5", "0.50826", "0.01128"] in rows
    with Image.open(tmp_path / "out" / "attention.png") as image:
        assert image.info["Description"] in ending.out and image.width == 1650
    assert "router weights" in (tmp_path / "out" / "attention.svg").read_text()


def test_a_file_gives_one_figure_and_its_python(start: Callable, tmp_path: Path) -> None:
    np.save(tmp_path / "7.npy", np.eye(5) * 9)
    ending = start("demo", "softmax", f"file={tmp_path / '7.npy'}", "window=3", f"output={tmp_path / 'out'}")
    assert ending.code == 0, ending.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"softmax.png", "softmax.svg"}
    assert f"demo.load_maps('{tmp_path / '7.npy'}'))[0, :, :, 0]" in ending.out and "7.npy, channel 0" in ending.out


def test_an_image_gives_the_figure_of_its_map_alone(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.eye(30, dtype=np.uint8)[..., None].repeat(3, 2) * 255)
    keys = {"image": str(tmp_path / "a.png"), "file": None, "size": 16, "seed": 0, "temperature": 1, "window": 3}
    assert [name for name, _ in softmax(OmegaConf.create(keys))] == ["softmax"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("softmx", "no topic 'softmx'; did you mean 'softmax'?"),
        ("softmax attention", "softmax and attention are several topics; choose one"),
        ("softmax feature_map=flor", "feature_map='flor': did you mean 'floor'?"),
        ("softmax temperature=0", "temperature must be positive, got 0"),
        ("softmax temperature=cold", "temperature=cold: give a number as temperature=0.5"),
        ("softmax window=4", "window must be an odd number of cells, got 4; try 5"),
        ("softmax size=5000", "size 5000 x 5000 is no size of a map; give sides from 1 to 2000"),
        ("softmax file=a.npy image=b.png", "image=b.png and file=a.npy both name a map; give one of them"),
        (
            "temperature temperatures=[1,1]",
            "temperatures=[1, 1]: give up to 6 different numbers as temperatures=[0.5, 1]",
        ),
        ("attention size=300", "attention is shown on maps of up to 65536 cells, got (300, 300); give a smaller size"),
    ],
)
def test_a_mistake_ends_in_one_sentence(start: Callable, tmp_path: Path, words: str, message: str) -> None:
    ending = start("demo", *words.split(), f"output={tmp_path / 'out'}")
    assert ending.code == 1 and ending.err.startswith(f"error: {message}") and "\n" not in ending.err


def test_without_a_topic_the_topics_are_listed(
    start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ending = start("demo")
    assert [line.split()[2] for line in ending.out.splitlines()] == ["softmax", "temperature", "attention"]
    assert ending.code == 0 and not list(tmp_path.iterdir())


def test_a_key_of_another_topic_is_refused(start: Callable) -> None:
    ending = start("demo", "temperature", "temperature=3")
    assert ending.code == 1 and "demo temperature has no temperature; see softpoint demo --help" in ending.err
