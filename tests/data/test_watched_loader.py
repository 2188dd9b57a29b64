"""A loading process that stops, is killed or is slow ends a run with a sentence, or not at all."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import pytest
import torch
from torch.utils.data import Dataset

from softpoint.cli.resource_errors import resource_message
from softpoint.data.watched_loader import WatchedLoader


@dataclass
class Spoiled(Dataset[int]):
    """Numbers, of which the last one meets with a fault."""

    fault: str

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        if index == 2 and self.fault == "slow":
            time.sleep(0.6)
        elif index == 2:
            os.kill(os.getpid(), getattr(signal, self.fault))
        return index


def batches(fault: str) -> list[torch.Tensor]:
    loader = WatchedLoader(Spoiled(fault), 1, num_workers=1)
    loader.wait = 0.8
    return list(loader)


def test_a_stopped_process_is_named_and_ended(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        ValueError, match=r"^no batch for 0\.8 s: loading process 0 \(pid \d+\) was stopped by a signal; "
    ):
        batches("SIGSTOP")
    assert "no batch for 0.4 s: loading process 0" in caplog.text


def test_a_slow_or_suspended_process_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    assert [batch.item() for batch in batches("slow")] == [0, 1, 2] and "no batch for 0.4 s" in caplog.text


def test_a_killed_process_is_one_sentence_with_the_way_out() -> None:
    with pytest.raises(RuntimeError) as error:
        batches("SIGKILL")
    assert "was ended (Killed), as the system does where memory is short: lower" in resource_message(error.value)
