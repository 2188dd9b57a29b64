"""What the doctor found, in a form that prints, draws and saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SEVERITIES = ("error", "warning", "info")

# How many examples of a finding a saved report lists; `count` says how many there are.
_LISTED = 50


class Example(NamedTuple):
    """One place to look at."""

    image: str
    place: str  # where the labels say it, such as "line 4"
    value: str  # what is there
    subject: int | None = None  # its index in the labels, where a subject is meant
    keypoints: tuple[int, ...] = ()  # which of its points are
    other: str = ""  # a second image, where two are compared


@dataclass(frozen=True)
class Finding:
    """One kind of thing to know about the data.

    `severity` is "error" where training would refuse the data or learn something else than was meant,
    "warning" where somebody should look, and "info" else.
    """

    kind: str  # a stable name, such as "outside"
    severity: str
    message: str  # what was found, with how many
    examples: Sequence[Example]
    way_out: str
    count: int

    def __post_init__(self) -> None:
        assert self.severity in SEVERITIES, self.severity

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: kind, severity, message, way_out, count, and examples (image, place, value, other)."""
        names = ("image", "place", "value", "other")
        examples = [{name: getattr(e, name) for name in names if getattr(e, name)} for e in self.examples[:_LISTED]]
        head = {name: getattr(self, name) for name in ("kind", "severity", "message", "way_out", "count")}
        return head | {"examples": examples}


class KeypointCounts(NamedTuple):
    """How often one keypoint is what."""

    name: str
    labeled: int  # visible and occluded ones
    occluded: int
    missing: int
    outside: int  # of the labeled, those beyond the image


@dataclass(frozen=True)
class Report:
    """All that the doctor says about one set of labels; findings stand in order of severity."""

    source: str
    subjects: int
    images: int
    unlabeled: int  # images without any labeled point
    sizes: Mapping[str, int]  # "WIDTHxHEIGHT" and how many images have it, the most frequent first
    keypoints: Sequence[KeypointCounts]
    splits: Mapping[str, int]  # subjects in each split that training would use; empty where unknown
    findings: Sequence[Finding] = field(default=())

    @property
    def breaks(self) -> bool:
        """Whether anything found would break training, or what it learns."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, under the names of the fields, `breaks`, and a `version` of these names."""
        return {
            "version": 1,
            "source": self.source,
            "subjects": self.subjects,
            "images": self.images,
            "unlabeled": self.unlabeled,
            "sizes": dict(self.sizes),
            "keypoints": [counts._asdict() for counts in self.keypoints],
            "splits": dict(self.splits),
            "breaks": self.breaks,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def found(kind: str, severity: str, message: str, examples: Sequence[Example], way_out: str) -> list[Finding]:
    """One finding, or none where there is no example; `message` says {n} for their number."""
    if not examples:
        return []
    return [Finding(kind, severity, message.format(n=len(examples)), examples, way_out, len(examples))]
