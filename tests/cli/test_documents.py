"""Every command that a document or a help text shows composes as it is written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from helpers.training import CONFIGS, ROOT, composed
from softpoint.cli import COMMANDS

START = rf"(?:python scripts/\w+\.py|softpoint (?:{'|'.join(COMMANDS)})(?= [^ ]))"


def commands() -> Iterator[str]:
    for path in (ROOT / "README.md", ROOT / "data/README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        yield from re.findall(rf"`({START}[^`\n]*)`", text)
        yield from re.findall(rf"^({START}[^\n#]*?)(?:\s+#.*)?$", text, re.MULTILINE)
    for path in sorted(CONFIGS.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ").replace("$\\$", "$")
        for command in re.findall(rf"^[# ]*({START}[^\n]*)$", text, re.MULTILINE):
            # In help texts, two spaces or more precede the purpose of a command.
            yield re.split(r"(?<=\S)\s{2,}(?=[a-z(])", command)[0]


@pytest.mark.parametrize("command", sorted({*commands()}))
def test_a_command_composes(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, name, *words = shlex.split(command.split(" | ")[0])
    if name.startswith("scripts/"):
        assert (ROOT / name).is_file(), command
        name = Path(name).stem.partition("_")[0]
    # What a help text says beside a command has no equals sign.
    words = [word for word in words if "=" in word or word.startswith("~")]
    if "-m" in command.split():
        words = [re.sub(r"=tag\(.*", "=1", word) for word in words if not word.startswith("hydra")]
        words = [re.sub(r"=([^,\[]+),.*", r"=\1", word) for word in words]
    words = ["data=openfield" if word == "data=..." else word.replace("=...", "=SOMETHING") for word in words]
    module = import_module(f"softpoint.cli.{name}")
    if name != "resume":  # of which words change the stored command line of a run
        words = getattr(module, "arguments", list)(words)
    assert composed(getattr(module, "CONFIG", name), words, tmp_path) is not None
