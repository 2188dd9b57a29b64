"""Costs of implementations that take turns, beside the first of each kind of work: their table, JSON and plot."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import count, cycle, groupby
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from matplotlib.figure import Figure

from softpoint.studies.markdown import hardware
from softpoint.studies.timing import Work
from softpoint.suggest import did_you_mean
from softpoint.tables import markdown_table
from softpoint.viz.figures import COLORS, new_figure, number_log_axis, styled

Call = Callable[[], Any]
Clock = Literal["cpu", "wall"]
TURN = 0.03  # seconds that a turn takes at least, by as many calls as that needs
CHOICES = {"device": ("cpu", "cuda"), "sizes": ("quick", "full")}


@dataclass(frozen=True)
class Options:
    """Settings of a benchmark, and `overrides` of the config of softpoint train where it composes one."""

    threads: int = 1
    device: str = "cpu"
    rounds: int = 5
    sizes: str = "quick"
    output: Path | None = None
    overrides: tuple[str, ...] = ()

    @classmethod
    def of(cls, words: Sequence[str]) -> Options:
        """Return the options of KEY=VALUE words; ValueError for a value that is none of an option's.

        >>> Options.of(["threads=2", "data.size=64"])
        Options(threads=2, device='cpu', rounds=5, sizes='quick', output=None, overrides=('data.size=64',))
        """
        names = {one.name for one in fields(cls)} - {"overrides"}
        own: dict[str, Any] = dict(word.split("=", 1) for word in words if word.split("=")[0] in names)
        for key in {"threads", "rounds"} & own.keys():
            if not own[key].isdecimal() or int(own[key]) < 1:
                raise ValueError(f"{key} must be a number of at least 1, got {own[key]}")
            own[key] = int(own[key])
        for key in CHOICES.keys() & own.keys():
            if own[key] not in CHOICES[key]:
                raise ValueError(f"{key}={own[key]} is unknown; {did_you_mean(own[key], CHOICES[key])}")
        if own.get("device") == "cuda" and not torch.cuda.is_available():
            raise ValueError("device=cuda: torch finds no GPU here; device=cpu measures this machine")
        if "output" in own:
            own["output"] = Path(own["output"])
        return cls(**own, overrides=tuple(word for word in words if word.split("=")[0] not in names))

    @property
    def clock(self) -> Clock:
        """The clock of ratios: a GPU's work takes no CPU time, and other work of a machine changes no CPU time."""
        return "wall" if self.device == "cuda" else "cpu"


@dataclass
class Row:
    """Seconds of a call in each round, by the `cpu` of this process and by the `wall` clock.

    Args:
        work, size, by: kind of work, its size as text, and who does it.
        x: the size as a number, for the plot.
        items: images of a call, where images per second are of interest.
        swept: whether it is for the plot alone.
        more: other facts by their heading.
        by_wall: whether processes share the work, whose CPU time is not that of this one.
    """

    work: str
    size: str
    x: float
    by: str
    cpu: list[float]
    wall: list[float]
    items: int = 0
    swept: bool = False
    more: dict[str, float] = field(default_factory=dict)
    by_wall: bool = False

    def seconds(self, clock: Clock) -> list[float]:
        """Return the seconds of a call in each round, by the wall's clock where no other counts."""
        return self.wall if self.by_wall else getattr(self, clock)


def measure(
    work: str, size: str, x: float, calls: Mapping[str, Call], options: Options, items: int = 0, swept: bool = False
) -> list[Row]:
    """Return a row for each of the `calls`, which take turns in each round, so that a slow spell meets them all."""
    rows = [Row(work, size, x, by, [], [], items, swept) for by in calls]
    repeats = [_repeats(call, options) for call in calls.values()]
    gc.collect()
    for _ in range(options.rounds):
        for row, call, times in zip(rows, calls.values(), repeats, strict=True):
            cpu, wall = _seconds(call, times, options)
            row.cpu.append(cpu / times)
            row.wall.append(wall / times)
    return rows


def _repeats(call: Call, options: Options) -> int:
    call()  # warms up
    return max(1, min(1000, round(TURN / max(_seconds(call, 1, options)[1], 1e-6))))


def _seconds(call: Call, times: int, options: Options) -> tuple[float, float]:
    _wait(options)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(times):
        call()
    _wait(options)
    return time.process_time() - cpu, time.perf_counter() - wall


def _wait(options: Options) -> None:
    if options.device == "cuda":
        torch.cuda.synchronize()


def counted(work: Work) -> Call:
    """Return a call of work that takes a number, with another number in each call."""
    numbers = count()
    return lambda: work(next(numbers))


def extra_bytes(call: Call, device: str) -> int:
    """Return the largest number of bytes of tensors that live at one time within a call, beside those from before.

    On a CPU the profiler of torch notes each allocation and each release of torch's allocator.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # two lines for each profile otherwise
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        kept = call()
    del kept
    live = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return peak


def ratios(rows: Sequence[Row], clock: Clock) -> Iterator[tuple[Row, list[float]]]:
    """Yield each row with its time as a multiple of that of the first row of its work and size, by round."""
    for _, same in groupby(rows, key=lambda row: (row.work, row.size)):
        first, *others = same
        for row in (first, *others):
            yield row, [a / b for a, b in zip(row.seconds(clock), first.seconds(clock), strict=True)]


def tables(rows: Sequence[Row], clock: Clock) -> str:
    """Return a Markdown table for each work: a column of each size, and the largest of the other facts of each row.

    The first line has times, or images per second; the others multiples of its time, with the least and the largest
    round.
    """
    parts = []
    for work, same in groupby([row for row in rows if not row.swept], key=lambda row: row.work):
        found = [*ratios([*same], clock)]
        sizes = list(dict.fromkeys(row.size for row, _ in found))
        headings = list(dict.fromkeys(heading for row, _ in found for heading in row.more))
        lines = []
        for number, by in enumerate(dict.fromkeys(row.by for row, _ in found)):
            cells = {row.size: (absolute(row, clock) if number == 0 else spread(values)) for row, values in found
                     if row.by == by}  # fmt: skip
            facts = {h: [row.more[h] for row, _ in found if row.by == by and h in row.more] for h in headings}
            shown = [f"{max(values):.2g}" if values else "" for values in facts.values()]
            lines.append([by, *(cells.get(size, "") for size in sizes), *shown])
        title = f"{work}, {'wall' if clock == 'wall' or found[0][0].by_wall else 'CPU'} time"
        parts.append(markdown_table([title, *sizes, *headings], lines))
    return "\n\n".join(parts)


def absolute(row: Row, clock: Clock) -> str:
    """Return the median time of a call in milliseconds, or its images per second, with the ends of the rounds."""
    seconds = row.seconds(clock)
    if row.items:
        return f"{spread([row.items / one for one in seconds])} images/s"
    return f"{spread([1000 * one for one in seconds])} ms"


def spread(values: Sequence[float]) -> str:
    """Return the median with the least and the largest value, in three digits.

    >>> spread([3.0, 1.0, 800.0])
    '3 (1 to 800)'
    """
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


@styled
def plot(rows: Sequence[Row], clock: Clock, label: str) -> Figure:
    """Return a figure of time against size, a panel for each work of several sizes, of its swept rows if any."""
    works = {work: [*same] for work, same in groupby(rows, key=lambda row: row.work)}
    works = {work: [row for row in same if row.swept] or same for work, same in works.items()}
    works = {work: same for work, same in works.items() if len({row.x for row in same}) > 1} or works
    columns = min(3, len(works))
    lines = -(-len(works) // columns)
    figure, panels = new_figure(columns, (4.2 * columns, 3.4 * lines), lines)
    for axes, (work, same) in zip(panels, works.items(), strict=False):
        for by, color in zip(dict.fromkeys(row.by for row in same), cycle(COLORS)):
            points = [(row.x, 1000 * median(row.seconds(clock))) for row in same if row.by == by]
            axes.plot(*zip(*sorted(points), strict=True), marker="o", color=color, label=by)
        axes.set(
            title=work, xscale="log", yscale="log", xlabel=label, ylabel=f"{clock} time (ms)".replace("cpu", "CPU")
        )
        for axis in (axes.xaxis, axes.yaxis):
            number_log_axis(axis)
        axes.legend()
    for axes in panels[len(works) :]:
        axes.set_axis_off()
    return figure


def content(name: str, options: Options, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the JSON of a run: its command, its hardware and all times in seconds."""
    named = {key: value for key, value in asdict(options).items() if key not in ("output", "overrides")}
    words = [f"{key}={value}" for key, value in named.items()] + [*options.overrides]
    command = f"python benchmarks/run.py {name} {' '.join(words)}"
    return {"command": command, "hardware": hardware(), "rows": [asdict(row) for row in rows]}
