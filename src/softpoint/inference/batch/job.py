"""Everything of one source predicted and written: resumable, in constant memory, whatever is broken in it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.images.video_play import Playback
from softpoint.inference.batch.journal import Journal, check_same, row_type
from softpoint.inference.batch.settings import Settings
from softpoint.inference.batch.sources import Album, Boxes, Clip
from softpoint.inference.batch.stream import Answer, Shot, answered
from softpoint.inference.batch.write_outputs import UnreadableError, answers_of, report, write_files
from softpoint.inference.predictor import Predictor
from softpoint.paths import sha256, write_json
from softpoint.viz import draw_subjects, write_image

_log = logging.getLogger(__name__)

# How many broken images job.json lists.
_LISTED = 1000


def _unseen(items: Iterable[Any], **_: Any) -> Iterable[Any]:
    return items


@dataclass(frozen=True)
class Job:
    """Predicts sources into the folder `output`; `progress` shows how far an iterable is, as `rich.progress.track`."""

    predictor: Predictor
    settings: Settings
    output: Path
    boxes: Boxes | None = None
    progress: Callable[..., Iterable[Any]] = _unseen

    def run(self, source: Album | Clip) -> str:
        """Predicts one source, writes its files, and says which in one line.

        Raises UnreadableError where nothing in it can be read, and ValueError where, with on_error=error, something
        cannot, or where, with resume, what is in `output` is of another job.
        """
        source = self._checked(source)
        folder, about = self.output / source.place, self._about(source)
        partial_file, done = folder / "predictions.partial", folder / "job.json"
        if self.settings.resume and done.exists() and not partial_file.exists():
            check_same(_read_json(done).get("job", {}), about | self.settings.outputs(), done)
            return f"{source.path} is complete: {folder / 'predictions.csv'}"
        dtype = row_type(len(self.predictor.skeleton), self.predictor.tells_visibility)
        journal = Journal(partial_file, about, dtype, self.settings.resume)
        complete = False
        try:
            playback = self._predict(source, journal)
            said = self._finish(source, journal, playback, about)
            complete = True
        finally:
            journal.close(discard=complete)
            if journal.next and not complete:
                kept = "%d %ss are kept in %s; output=%s resume=true goes on after them"
                _log.warning(kept, journal.next, source.kind, partial_file, self.output)
        return said

    def _checked(self, source: Album | Clip) -> Album | Clip:
        if isinstance(source, Album):
            return source if self.boxes is None else source.with_boxes(self.boxes)
        if self.boxes is not None:
            most = source.most_boxes(self.boxes)
            if self.settings.smooths and most > 1:
                raise ValueError(
                    f"smoothing=median: {source.path} has {most} boxes in a frame; give one, or smoothing=none"
                )
        return source

    def _about(self, source: Album | Clip) -> dict[str, Any]:
        """What decides the predictions, and what is drawn meanwhile."""
        settings = self.settings
        if isinstance(source, Album):
            names = hashlib.sha256("\n".join(source.names).encode()).hexdigest()
            content = f"{len(source.names)} images, {names[:16]}"
            drawn: Any = [settings.names, settings.ellipses, settings.threshold] if settings.images else False
        else:
            status = source.path.stat()
            content, drawn = f"{status.st_size} bytes, changed {status.st_mtime_ns}", False
        return {
            "ckpt": _digest(settings.ckpt),
            "source": str(source.path.resolve()),
            "content": content,
            "boxes": settings.boxes and _digest(settings.boxes),
            "tta": settings.tta,
            "exif": settings.exif,
            "max_pixels": settings.max_pixels,
            "images": drawn,
        }

    def _predict(self, source: Album | Clip, journal: Journal) -> Playback | None:
        """Brings the journal to the end of the source."""
        settings, playback = self.settings, None
        if isinstance(source, Album):
            shots = source.shots(settings.exif, settings.max_pixels, self.boxes, journal.next)
            total: int | None = len(source.names)
        else:
            playback = _opened(source.path, settings.max_pixels)
            shots, total = source.shots(playback, self.boxes, journal.next), playback.count
        draws = settings.images and isinstance(source, Album)
        with closing(answered(self.predictor, shots, settings.batch_size, keep=draws)) as found:
            told = {"description": f"predicting {source.path.name}", "total": total, "completed": journal.next}
            for shot, answers in self.progress(found, **told):
                if shot.broken and settings.on_error == "error":
                    raise ValueError(f"{source.path} {source.kind} {shot.name}: {shot.broken}; or on_error=skip")
                if draws and answers and shot.image is not None:
                    self._draw(shot, answers, self.output / source.place / "images" / f"{shot.name}.jpg")
                journal.append(shot, answers)
        return playback

    def _draw(self, shot: Shot, answers: list[Answer], path: Path) -> None:
        assert shot.image is not None
        settings = self.settings
        found = {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}
        found["keypoints"][found["confidence"] < settings.threshold] = float("nan")
        options = {"names": settings.names, "ellipses": settings.ellipses}
        write_image(path, draw_subjects(shot.image, found, self.predictor.skeleton, **options))

    def _finish(self, source: Album | Clip, journal: Journal, playback: Playback | None, about: dict[str, Any]) -> str:
        """Writes all files; job.json comes last: where it is, everything is."""
        settings, folder = self.settings, self.output / source.place
        answers = answers_of(source, journal, self.predictor, settings, self.boxes is not None)
        count, broken = report(source, answers, playback)
        said = write_files(folder, answers, playback, settings, self.progress)
        facts = {"ckpt": str(settings.ckpt), f"{source.kind}s": count, "broken": broken[:_LISTED]}
        write_json(folder / "job.json", {"job": about | settings.outputs(), **facts})
        return f"{count - len(broken)} {source.kind}s: {said}"


def _opened(path: Path, max_pixels: int) -> Playback:
    try:
        return Playback(path, max_pixels)
    except ValueError as error:
        raise UnreadableError(str(error)) from error


def _digest(path: Path) -> str:
    """The SHA-256 of a file; the name of a folder."""
    return str(path.resolve()) if path.is_dir() else sha256(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return dict(found)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"resume=true: {path} is not what a finished job left; remove it") from error
