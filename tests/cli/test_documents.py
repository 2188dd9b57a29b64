"""Every command that a document or a help text shows composes as it is written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from helpers.training import CONFIGS, ROOT, composed
from softpoint.cli.overrides import split_arguments
from softpoint.cli.serve import hydra_overrides

STUDIES = ("crossval", "compare", "curve")


def commands() -> Iterator[tuple[str, str]]:
    """Where a command stands, and the command."""
    for path in (ROOT / "README.md", ROOT / "data/README.md", ROOT / "docs/results.md"):
        text = path.read_text(encoding="utf-8")
        found = re.findall(r"`(python scripts/[^`\n]+)`", text)
        found += re.findall(r"^(python scripts/[^\n#]+?)(?:\s+#.*)?$", text, re.MULTILINE)
        yield from ((path.name, command) for command in found)
    for path in sorted(CONFIGS.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ").replace("$\\$", "$")
        for command in re.findall(r"^[# ]*(python scripts/[^\n]+)$", text, re.MULTILINE):
            # In help texts, two spaces or more stand before what a command is for.
            yield path.name, re.split(r"(?<=\S)\s{2,}(?=[a-z(])", command)[0]


@pytest.mark.parametrize("command", sorted({command for _, command in commands()}))
def test_a_command_composes(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, *words = shlex.split(command.split(" | ")[0])[1:]
    name = Path(script).stem
    assert (ROOT / script).is_file(), command
    # What a help text says beside a command has no equals sign.
    words = [word for word in words if "=" in word or word.startswith("~")]
    if "-m" in command.split():
        words = [re.sub(r"=([^,\[]+),.*", r"=\1", word) for word in words if not word.startswith("hydra")]
    words = ["data=openfield" if word == "data=..." else word.replace("=...", "=SOMETHING") for word in words]
    if name in STUDIES:
        words = split_arguments(words, name)
    if name == "serve":
        words = hydra_overrides(words)
    OmegaConf.register_new_resolver("run_dir", lambda ckpt, new: new, replace=True)
    assert composed(name, words, tmp_path) is not None
