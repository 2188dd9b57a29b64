"""Facts of a run, read from the record in a checkpoint, which may be anyone's, as text that is safe in Markdown."""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_TEXT = 200
MAX_PARTS = 10  # of splits, and of libraries
# Numbers of a keypoint, beside how many of its points are labeled.
KEYPOINT_METRICS = ("epe", "median", "p95", "pck@0.1")

_MARKUP = re.compile(r"([\\`*_\[\]|~#$!:@]|(?<=[wW]{3})\.)")


def one_line(text: object, length: int = MAX_TEXT) -> str:
    """Return text without line breaks and invisible characters, cut to `length`.

    >>> one_line("a\\n\\u202eb")
    'a b'
    """
    line = " ".join(str(text)[: 4 * length].split())
    visible = "".join(letter for letter in line if unicodedata.category(letter)[0] != "C")
    return visible if len(visible) <= length else f"{visible[:length]}…"


def escape(text: object, length: int = MAX_TEXT) -> str:
    """Return one line of Markdown that shows the text, with nothing that Markdown or HTML would act on.

    >>> print(escape("<b>left_ear</b> [x](http://y)"))
    &lt;b&gt;left\\_ear&lt;/b&gt; \\[x\\](http\\://y)
    """
    return _MARKUP.sub(r"\\\1", html.escape(one_line(text, length), quote=False))


def fenced(text: object, length: int = 4000) -> str:
    """Return a Markdown block of code with the text in one line, which may contain backticks.

    >>> fenced("a ``` b").splitlines()
    ['````', 'a ``` b', '````']
    """
    line = one_line(text, length)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence}\n{line}\n{fence}"


def number(value: Any) -> float | None:
    """Return a finite number; None for anything else.

    >>> number(3), number("3"), number(float("nan"))
    (3.0, None, None)
    """
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def mapping(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the mapping at a key; an empty one for anything else."""
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True)
class KeypointResult:
    """Accuracy of one keypoint on the test split."""

    name: str  # Markdown
    points: float | None  # that are labeled
    metrics: dict[str, float]
    doubtful: float | None  # fraction of its labeled points with a confidence below one half


@dataclass(frozen=True)
class RunRecord:
    """Facts of a run. Text is escaped Markdown, "" where a fact is missing; numbers are finite, or missing.

    `exists` is False for a checkpoint from before records; `finished` is True after the final test.
    """

    exists: bool
    finished: bool
    text: dict[str, str]  # data, labels, data_title, data_license, network, date, hardware, resampled, weights...
    command: str | None  # not escaped
    from_scratch: bool
    minutes: float | None
    calibration_units: float | None  # independent images, or groups of them, that the calibration was fitted to
    calibration_radius: float | None  # that the confidence is about, in px of the original images
    versions: dict[str, str]
    splits: dict[str, dict[str, float]]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    doubtful: float | None
    keypoints: list[KeypointResult]  # the largest mean error first
    members: list[tuple[str, float | None]]  # of an ensemble: the command of each, as Markdown, and its error in px

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> RunRecord:
        """Return the facts in a record; what is of another type than expected is missing."""
        command, versions, splits = record.get("command"), mapping(record, "versions"), mapping(record, "splits")
        per_keypoint = mapping(record, "per_keypoint")
        members = record["members"][:MAX_PARTS] if isinstance(record.get("members"), list) else []
        keypoints = [_keypoint(name, mapping(per_keypoint, name)) for name in per_keypoint]
        return cls(
            exists=bool(record),
            finished=record.get("finished") is True,
            text={key: escape(value) for key, value in record.items() if isinstance(value, str) and key != "command"},
            command=command if isinstance(command, str) else None,
            from_scratch="starting_weights" in record and record["starting_weights"] is None,
            minutes=number(record.get("minutes")),
            calibration_units=number(record.get("calibration_units")),
            calibration_radius=number(record.get("calibration_radius")),
            versions={escape(name): escape(versions[name]) for name in list(versions)[:MAX_PARTS]},
            splits={escape(name): _numbers(mapping(splits, name)) for name in list(splits)[:MAX_PARTS]},
            metrics=_numbers(mapping(record, "metrics")),
            intervals=_intervals(mapping(record, "intervals")),
            doubtful=number(record.get("doubtful")),
            members=[(escape(m.get("command", "")), number(m.get("epe"))) for m in members if isinstance(m, Mapping)],
            keypoints=sorted(keypoints, key=lambda result: -result.metrics.get("epe", 0.0)),
        )


def _keypoint(name: str, entry: Mapping[str, Any]) -> KeypointResult:
    metrics = {key: value for key in KEYPOINT_METRICS if (value := number(entry.get(key))) is not None}
    return KeypointResult(escape(name), number(entry.get("points")), metrics, number(entry.get("doubtful")))


def _numbers(entries: Mapping[str, Any]) -> dict[str, float]:
    return {str(key): finite for key, value in entries.items() if (finite := number(value)) is not None}


def _intervals(entries: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    result = {}
    for name, pair in entries.items():
        ends = [number(end) for end in pair] if isinstance(pair, list | tuple) else []
        if len(ends) == 2 and ends[0] is not None and ends[1] is not None:
            result[str(name)] = (ends[0], ends[1])
    return result
