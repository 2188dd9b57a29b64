"""What a server has done, as Prometheus reads it: https://prometheus.io/docs/instrumenting/exposition_formats/"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Histogram:
    """How often a value was at most each of the bounds.

    >>> seen = Histogram("seconds", "of a request", (0.1, 1))
    >>> for value in (0.05, 0.1, 7): seen.observe(value)
    >>> print(*seen.lines(), sep="\\n")
    # HELP seconds of a request
    # TYPE seconds histogram
    seconds_bucket{le="0.1"} 2
    seconds_bucket{le="1"} 2
    seconds_bucket{le="+Inf"} 3
    seconds_sum 7.15
    seconds_count 3
    """

    def __init__(self, name: str, says: str, bounds: Sequence[float]) -> None:
        self.name, self.says, self.bounds = name, says, bounds
        self.counts, self.total = [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        """Counts one more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self) -> Iterator[str]:
        """What Prometheus reads: each bucket holds those before it too."""
        yield from _head(self.name, self.says, "histogram")
        below = 0
        for bound, count in zip([*self.bounds, "+Inf"], self.counts, strict=True):
            below += count
            yield f'{self.name}_bucket{{le="{bound}"}} {below}'
        yield f"{self.name}_sum {self.total:.9g}"
        yield f"{self.name}_count {below}"


class Counts:
    """Everything that GET /metrics tells; for one event loop, so nothing is locked.

    Args:
        waiting: asks how many images wait for the model now.
        working: asks how many requests are being answered now.
    """

    def __init__(self, waiting: Callable[[], int], working: Callable[[], int]) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds = Histogram("softpoint_predict_seconds", "time to answer POST /predict", SECONDS)
        self.batches = Histogram("softpoint_batch_images", "images that the model saw at once", BATCHES)
        self._gauges = {
            "softpoint_queue_images": ("images that wait for the model", waiting),
            "softpoint_requests_in_work": ("predictions that are being made", working),
        }

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self.requests[path, status] += 1
        if path == "/predict":
            self.seconds.observe(seconds)

    def text(self) -> str:
        """The page, in Prometheus' text format 0.0.4."""
        return "\n".join([*self._requests(), *self.seconds.lines(), *self.batches.lines(), *self._now(), ""])

    def _requests(self) -> Iterator[str]:
        yield from _head("softpoint_requests_total", "requests answered", "counter")
        for (path, status), count in sorted(self.requests.items()):
            yield f'softpoint_requests_total{{path="{path}",status="{status}"}} {count}'

    def _now(self) -> Iterator[str]:
        for name, (says, ask) in self._gauges.items():
            yield from _head(name, says, "gauge")
            yield f"{name} {ask()}"


def _head(name: str, says: str, kind: str) -> list[str]:
    return [f"# HELP {name} {says}", f"# TYPE {name} {kind}"]
