"""A loading process that stops, is killed or is slow ends a run with a sentence, or not at all."""

from __future__ import annotations

import gc
import os
import re
import signal
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from softpoint.cli.resource_errors import resource_message
from softpoint.data.dataset import KeypointDataset
from softpoint.data.loaders import collate
from softpoint.data.sources import LabeledImages
from softpoint.data.watched_loader import WatchedLoader, shared_with_workers
from softpoint.images import ImageFolder
from softpoint.images.decode_errors import NoProcessError
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton

# torch raises the end of a process wherever this one is then, also where Python ignores it and goes on.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@dataclass
class Spoiled(Dataset[int]):
    """Numbers, of which the last one meets with a fault."""

    fault: str
    file: Path = Path()  # that a slow one waits for

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        if index == 2 and self.fault == "slow":
            while not self.file.exists():
                time.sleep(0.01)
        elif index == 2:
            os.kill(os.getpid(), getattr(signal, self.fault))
        return index


def batches(fault: str, wait: float = 3, file: Path = Path()) -> list[torch.Tensor]:
    loader = WatchedLoader(Spoiled(fault, file), 1, num_workers=1)
    loader.wait = wait
    return list(loader)


def test_a_stopped_process_is_named_and_ended(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match=r"^no batch for 3 s: loading process 0 \(pid \d+\) was stopped by a signal; "):
        batches("SIGSTOP")
    assert "no batch for 1.5 s: loading process 0" in caplog.text


def test_a_slow_or_suspended_process_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Mock(warning=Mock(side_effect=lambda *_: (tmp_path / "warned").touch()))
    monkeypatch.setattr("softpoint.data.watched_loader._log", log)
    assert [batch.item() for batch in batches("slow", 5, tmp_path / "warned")] == [0, 1, 2]
    assert log.warning.call_args[0][:2] == ("no batch for %g s: %s", 2.5)


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("SIGKILL", ", as the system does where memory is short: lower data.num_workers"),
        ("SIGTERM", "; find out who sent it, or load in the main process by data.num_workers=0, and start again"),
    ],
)
def test_a_killed_process_is_one_sentence_with_its_signal_and_the_way_out(name: str, way_out: str) -> None:
    with pytest.raises(RuntimeError) as error:
        batches(name, wait=60)
    assert re.match(
        rf"a process that loads data \(pid \d+\) was ended by {name}{way_out}", resource_message(error.value)
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_vanishes_or_changes_is_left_out_and_counted(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("a.png", "b.png", "c.png")
    for name in names:
        Image.new("RGB", (40, 30), "white").save(tmp_path / name)
    subjects = tuple(Subject(name, "row", np.full((2, 2), 9.0), np.array([2, 2])) for name in names)
    labels = Labels("labels.csv", "", Skeleton(("left", "right")), subjects)
    sizes = np.array([(30, 40)] * 3)
    (tmp_path / "b.png").unlink()
    Image.new("RGB", (20, 30)).save(tmp_path / "c.png")
    source = LabeledImages(labels, sizes, ImageFolder(tmp_path), skip=True)
    loader = WatchedLoader(KeypointDataset(source, (32, 32), (0,)), 3, num_workers=workers, collate_fn=collate)
    for _ in range(2):
        (batch,) = loader
        assert batch["visibility"].tolist() == [[2, 2], [0, 0], [0, 0]] and "error" not in batch
        assert batch["image"][0].any() and not batch["image"][1:].any()
    assert list(loader.errors.values()) == [2, 2]
    assert caplog.text.count("1 image cannot be read any more, left out: b.png: ") == 1
    assert "c.png was 40x30 when it was scanned, and is 20x30 now" in caplog.text
    for index in (1, 2):
        with pytest.raises((OSError, ValueError), match=names[index]):
            LabeledImages(labels, sizes, ImageFolder(tmp_path)).load(0, index)
    source.reader = Mock(read=Mock(side_effect=NoProcessError("a process did not start")))
    with pytest.raises(NoProcessError):
        source.load(0, 0)


def test_objects_are_not_searched_for_garbage_while_workers_share_them() -> None:
    class Ring:
        pass

    old = Ring()
    old.self, watched = old, weakref.ref(old)  # type: ignore[attr-defined]
    with suppress(KeyError), shared_with_workers():
        del old
        gc.collect()
        assert watched() is not None
        raise KeyError
    gc.collect()
    assert watched() is None
