"""Mirrored training images: whether augment.flip=auto makes them, and what a run says of it."""

from __future__ import annotations

from typing import Any

from softpoint.audit.mirror import why_mirrored


def decide_flip(data: Any) -> str:
    """Decide augment.flip where it is auto, and return a line on mirrored images; "" where there is nothing to say.

    Half of the images are mirrored where training labels show that mirrored ones could be among them. Where the setting
    says that none are, the line names it.
    """
    augment, labels = data.augment, getattr(data.sources["train"], "labels", None)
    why = why_mirrored(labels) if augment is not None and labels is not None else ""
    if augment is None or not (augment.flip_is_open or why):
        return ""
    augment.decide_flip(bool(why))
    if augment.flip_is_open:
        reason = why or "nothing in the labels shows that mirrored ones occur"
        return f"augment.flip=auto: {'half of the images are' if why else 'no image is'} mirrored, because {reason}\n"
    return "" if augment.flip else f"no image is mirrored, though {why}: augment.flip=auto would mirror half of them\n"
