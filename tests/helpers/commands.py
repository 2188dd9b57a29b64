"""Commands run in the test's own process, as their command lines run them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from softpoint import cli


class Ending(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def start(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., Ending]]:
    """Run a command as its command line does, and return its exit code and output."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # launch sets it; this takes it back afterwards
    monkeypatch.delenv("SOFTPOINT_TRACEBACK", raising=False)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def go(name: str, *words: str) -> Ending:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
        free = name == "train" and words and not any(word.startswith(("hydra.", "-")) for word in words)
        folder = [f"hydra.run.dir={tmp_path / 'run'}"] if free else []
        monkeypatch.setattr(sys, "argv", ["softpoint", name, *words, *folder])
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = 1 if isinstance(stop.code, str) else int(stop.code or 0)
            print(stop.code if isinstance(stop.code, str) else "", file=sys.stderr)
        out, err = capfd.readouterr()
        return Ending(code, out, err.strip())

    yield go
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)
