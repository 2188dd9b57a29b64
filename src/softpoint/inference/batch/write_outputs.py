"""The files that are made of what was predicted, once all of it is there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from softpoint.images.video_play import Playback
from softpoint.inference.batch.journal import Journal
from softpoint.inference.batch.settings import Settings
from softpoint.inference.batch.smoothing import median_smoothed
from softpoint.inference.batch.sources import Album, Clip
from softpoint.inference.batch.video import draw_rows, write_video
from softpoint.inference.batch.writers import FORMATS, write_table
from softpoint.inference.batch.writers.coco import read_ids
from softpoint.inference.batch.writers.rows import Answers, Row, hidden, rounded, unpacked
from softpoint.inference.predictor import Predictor
from softpoint.labels.row_errors import first_few

_log = logging.getLogger(__name__)


class UnreadableError(ValueError):
    """A source of which nothing can be read, though others may be."""


def answers_of(
    source: Album | Clip, journal: Journal, predictor: Predictor, settings: Settings, boxes: bool
) -> Answers:
    """What was predicted for a source, smoothed and hidden as the settings say."""
    smooths = settings.smooths and isinstance(source, Clip)

    def rows() -> Iterator[Row]:
        found = unpacked(journal.rows())
        found = median_smoothed(found, settings.smoothing_window) if smooths else found
        return rounded(hidden(found, settings.threshold) if settings.hide else found)

    return Answers(
        skeleton=predictor.skeleton,
        source=source.folder if isinstance(source, Album) else source.path,
        images=source.names if isinstance(source, Album) else None,
        rows=rows,
        boxes=boxes,
        visibility=predictor.tells_visibility,
        ids=partial(read_ids, source.labels) if isinstance(source, Album) and source.labels else None,
    )


def report(source: Album | Clip, answers: Answers, playback: Playback | None) -> tuple[int, list[str]]:
    """How many images there are, and what could not be read, one line each, said as a warning.

    Raises UnreadableError where nothing could be read.
    """
    broken, count = [], 0
    for rows in answers.by_image():
        count += 1
        if rows[0].broken:
            broken.append(f"{source.kind} {answers.name(rows[0].number)}: {rows[0].broken}")
    if playback is not None and playback.cut:
        _log.warning("video %s %s", source.path, playback.cut)
    if broken:
        few = first_few(broken)
        _log.warning("%s: %d %ss cannot be read, their rows are empty%s", source.path, len(broken), source.kind, few)
    if count == len(broken):
        raise UnreadableError(f"none of the {count} {source.kind}s in source={source.path} could be read")
    return count, broken


def write_files(
    folder: Path,
    answers: Answers,
    playback: Playback | None,
    settings: Settings,
    progress: Callable[..., Iterable[Any]],
) -> str:
    """Writes everything that was asked for into `folder`, predictions.csv last, and says what and where."""
    files = [folder / FORMATS[name].file for name in settings.formats]
    for name, path in zip(settings.formats, files, strict=True):
        FORMATS[name].write(path, answers)
    remarks: list[str] = []
    if settings.video and playback is not None:
        files.append(folder / "labeled.mp4")
        remarks = _film(files[-1], playback, answers, settings, progress)
    write_table(folder / "predictions.csv", answers)
    files += [folder / "images"] if settings.images and playback is None else []
    notes = f" (the video is {'; '.join(remarks)})" if remarks else ""
    return ", ".join(str(path) for path in [folder / "predictions.csv", *files]) + notes


def _film(
    path: Path, playback: Playback, answers: Answers, settings: Settings, progress: Callable[..., Iterable[Any]]
) -> list[str]:
    shown = (list(hidden(iter(rows), settings.threshold)) for rows in answers.by_image())
    draw = partial(draw_rows, skeleton=answers.skeleton, names=settings.names, ellipses=settings.ellipses)
    size = next(row.size for row in answers.rows() if any(row.size))
    told = partial(progress, description=f"drawing {answers.source.name}", total=playback.count)
    return write_video(path, playback, shown, draw, size, told)
