"""Prediction of a camera or a stream, frame by frame, until it ends, Ctrl-C, or its window is closed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.images.ffmpeg import pyav
from softpoint.images.live import Stream
from softpoint.images.video import VideoFrame
from softpoint.inference.batch.drawing import draw_item
from softpoint.inference.batch.journal import Journal, row_dtype
from softpoint.inference.batch.options import PredictOptions
from softpoint.inference.batch.predictions import Predictions, Row, above_threshold, rounded
from softpoint.inference.batch.stream import Item, Progress, predict_items
from softpoint.inference.batch.video import Encoder
from softpoint.inference.batch.writers import write_table
from softpoint.inference.predictor import Predictor
from softpoint.inference.subjects import SubjectFinder
from softpoint.paths import atomic_write, write_json
from softpoint.signals import handle


def predict_stream(
    predictor: Predictor,
    stream: Stream,
    options: PredictOptions,
    output: Path,
    window: bool,
    progress: Progress = lambda items, **_: items,
    finder: SubjectFinder | None = None,
) -> str:
    """Write predictions.csv, and labeled.mp4 with `video`, of the frames of a stream; return one line that names them.

    `window` shows each frame with its points, `progress` how many there were, and a `finder` finds the subjects.
    Whatever ends it, the files hold the frames until then. Raises ValueError where no frame comes.
    """
    dtype = row_dtype(len(predictor.skeleton), predictor.predicts_visibility, predictor.explain)
    journal = Journal(output / "predictions.partial", {"source": stream.name}, dtype, False)
    problems, scale = list[str](), options.scale or 1
    try:
        with ExitStack() as held, stopping() as stopped:
            shown: _Window | None = None
            recorder = held.enter_context(closing(_Recorder(output / "labeled.mp4"))) if options.video else None
            items = _items(stream, options.max_pixels, problems)
            results = held.enter_context(closing(predict_items(predictor, items, 1, True, finder)))
            tracked = progress(results, description=f"predicting {stream.name}")
            for item, predictions in tracked:
                if window and not item.number and (shown := _opened(stream.name)):
                    held.enter_context(closing(shown))
                journal.append(item, predictions)
                canvas = draw_item(predictor, item, predictions, options, scale) if shown or recorder else None
                if recorder and canvas is not None:
                    recorder.write(item, canvas)
                if stopped.is_set() or (shown and canvas is not None and not shown.show(canvas)):
                    break
    finally:
        count = journal.next
        if count:
            _write(predictor, stream, journal, options, output, finder is not None)
        journal.close(discard=True)
    if not count:
        raise ValueError(f"source={stream.name} gave no frame")
    files = [output / "predictions.csv", *([output / "labeled.mp4"] if options.video else [])]
    after = f"the stream ended ({problems[0]}) after " if problems else ""
    return f"{after}{count} frames: {', '.join(map(str, files))}"


def _write(
    predictor: Predictor, stream: Stream, journal: Journal, options: PredictOptions, output: Path, finds: bool
) -> None:
    """Write predictions.csv, and job.json last."""

    def rows() -> Iterator[Row]:
        read = journal.rows()
        return rounded(above_threshold(read, options.threshold) if options.drop_below_threshold else read)

    predictions = Predictions(
        predictor.skeleton, Path(stream.name), None, rows, finds, finds, has_visibility=predictor.predicts_visibility
    )
    write_table(output / "predictions.csv", predictions)
    facts = {"job": {"source": stream.name, "ckpt": str(options.ckpt)}, "frames": journal.next}
    write_json(output / "job.json", facts)


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Set the event at Ctrl-C or SIGTERM, so that a loop can end after the frame it is at; a later one interrupts.

    Within a second it does not: a shell may send both to a process and to its group.
    """
    first = [0.0]
    event = threading.Event()

    def stop(number: int, frame: Any) -> None:
        if event.is_set() and time.monotonic() - first[0] > 1:
            raise KeyboardInterrupt
        first[0] = first[0] or time.monotonic()
        event.set()

    before = handle(stop)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _items(stream: Stream, max_pixels: int, problems: list[str]) -> Iterator[Item]:
    """Yield the frames; what ends them after the first is added to `problems`, so that the frames before are kept."""
    count = 0
    try:
        for seconds, pixels in stream.frames(max_pixels):
            yield Item(count, str(count), seconds, pixels, None)
            count += 1
    except ValueError as error:
        if not count:
            raise
        problems.append(str(error))


@dataclass(frozen=True)
class _Times:
    """What an encoder asks a video for."""

    rate: Fraction = Fraction(30)
    time_base: Fraction = Fraction(1, 1000)


class _Recorder:
    """A video that begins with the first frame, whose size it has, and is complete whatever ends it."""

    def __init__(self, path: Path) -> None:
        self._path, self._held = path, ExitStack()
        self._av = pyav()
        self._encoder: Encoder | None = None

    def write(self, item: Item, canvas: np.ndarray) -> None:
        """Encode the drawn frame of an item at its time."""
        encoder = self._encoder = self._encoder or self._begun(canvas.shape[:2])
        encoder.write(VideoFrame(item.number, round(1000 * item.time), item.time, None), canvas)

    def _begun(self, size: tuple[int, ...]) -> Encoder:
        """Return the encoder of a new file, which is open until `close`."""
        with ExitStack() as held:
            temporary = held.enter_context(atomic_write(self._path))
            container = held.enter_context(self._av.open(str(temporary), "w", format="mp4"))
            encoder = Encoder(container, _Times(), (size[0], size[1]))
            self._held = held.pop_all()
        return encoder

    def close(self) -> None:
        """Complete the file, if there was a frame."""
        with self._held:
            if self._encoder:
                self._encoder.flush()


def _opened(title: str) -> _Window | None:
    """Return a window where there is a display; else print why there is none."""
    try:
        import tkinter

        return _Window(tkinter.Tk(), title)
    except Exception as error:  # tkinter.TclError cannot be named where tkinter is missing
        if not (isinstance(error, ImportError | RuntimeError) or type(error).__name__ == "TclError"):
            raise
        print(f"no window ({error}); the files are written all the same, Ctrl-C ends them", flush=True)
        return None


class _Window:
    """A window of Tk with frames in it."""

    def __init__(self, root: Any, title: str) -> None:
        import tkinter

        self._root, self._open = root, True
        self._root.title(f"{title}: Escape, q or Ctrl-C ends it")
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._root.protocol("WM_DELETE_WINDOW", self._end)
        for key in ("<Escape>", "q"):
            self._root.bind(key, lambda event: self._end())

    def _end(self) -> None:
        self._open = False

    def show(self, canvas: np.ndarray) -> bool:
        """Show a frame (H, W, 3); return False once the window is closed."""
        from PIL import Image, ImageTk

        self._image = ImageTk.PhotoImage(Image.fromarray(canvas), master=self._root)  # Tk keeps no reference
        self._label.configure(image=self._image)
        self._root.update()
        return self._open

    def close(self) -> None:
        """Close the window."""
        self._root.destroy()
