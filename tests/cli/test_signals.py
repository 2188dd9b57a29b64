"""A signal ends a command with its code and one line, also while it imports or waits for processes of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.training import composed, tiny
from softpoint.cli import main
from softpoint.cli.command_line import CommandLine
from softpoint.cli.hydra_errors import leave
from softpoint.cli.processes import train_in_processes
from softpoint.training.ending import exit_on_signals


def test_ctrl_c_during_the_imports_is_one_line(start: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("softpoint.cli.hydra_app.import_module", interrupted)
    ending = start("train")
    assert (ending.code, ending.err) == (130, "stopped by Ctrl-C")


def test_a_closed_output_ends_a_command_as_sigpipe_does() -> None:
    with pytest.raises(SystemExit) as end:
        leave(BrokenPipeError(), CommandLine("train", []))
    assert end.value.code == 128 + signal.SIGPIPE


def test_a_character_that_a_terminal_lacks_ends_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    output = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(output, "ascii"))
    monkeypatch.setattr(sys, "argv", ["softpoint"])
    main()
    print("\u2192", flush=True)
    assert output.getvalue().endswith(b"\\u2192\n")


def test_sigterm_is_passed_on_to_the_processes_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\ntrap 'touch ended; exit 143' TERM\necho ready >&2\nwhile :; do sleep 0.01; done\n")
    program.chmod(0o755)
    composed("train", tiny(), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(program))
    # As soon as the process has set its trap, of which this repeats the output.
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=lambda _: signal.raise_signal(signal.SIGTERM)))
    with pytest.raises(SystemExit) as end, exit_on_signals():
        train_in_processes(tmp_path / "run")
    assert end.value.code == 143 and (tmp_path / "ended").exists()
