"""What a training decides where its settings say auto."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from softpoint.cli.decisions import Decisions
from softpoint.data.augment import Augment


def data(flip: float | str) -> Any:
    """Data without labels at hand."""
    return SimpleNamespace(augment=Augment(flip=flip), sources={"train": SimpleNamespace(labels=None)})


def decide(run: Any) -> str:
    """What is said once it is decided whether images are mirrored."""
    told = Decisions(OmegaConf.create())
    told.mirroring(run)
    return "".join(told.notes)


@pytest.mark.parametrize(
    ("flip", "why", "decided", "line"),
    [
        (
            "auto",
            "their poses are symmetric",
            0.5,
            "half of the images are mirrored, because their poses are symmetric",
        ),
        ("auto", "", 0.0, "no image is mirrored, because nothing in the labels shows that mirrored ones occur"),
        (0.0, "both sides are seen", 0.0, "though both sides are seen: augment.flip=auto would mirror half of them"),
        (0.0, "", 0.0, ""),
        (0.2, "both sides are seen", 0.2, ""),
    ],
)
def test_flip_follows_the_labels_where_it_is_open(
    monkeypatch: pytest.MonkeyPatch, flip: float | str, why: str, decided: float, line: str
) -> None:
    monkeypatch.setattr("softpoint.audit.mirror.why_mirrored", lambda labels: why)
    run = data(flip)
    run.sources["train"].labels = object()
    told = decide(run)
    assert run.augment.flip == decided and line in told and (told == "") == (line == "")


def test_images_without_labels_at_hand_are_not_mirrored() -> None:
    """Painted scenes and streamed sets."""
    run = data("auto")
    assert "no image is mirrored" in decide(run) and run.augment.flip == 0
