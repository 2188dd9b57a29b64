"""The result of an audit, in a form that is printed, drawn and saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

SEVERITIES = ("error", "warning", "info")

_MAX_EXAMPLES = 50  # per finding in a saved report; `count` is the full number


class Example(NamedTuple):
    """One place in the data that shows a finding."""

    image: str
    place: str  # position in the label file, such as "line 4"
    value: str
    subject: int | None = None  # index in the labels, if the example is about one subject
    keypoints: tuple[int, ...] = ()  # indices of the keypoints concerned
    other: str = ""  # the second image of a comparison


@dataclass(frozen=True)
class Finding:
    """One kind of fault or peculiarity in the data.

    `severity` is "error" if training would refuse the data or learn from wrong coordinates, "warning" if a person
    should check it, and "info" otherwise.
    """

    kind: str  # a stable name, such as "out_of_frame"
    severity: str
    message: str  # one sentence with the number of cases
    examples: Sequence[Example]
    advice: str
    count: int

    def __post_init__(self) -> None:
        assert self.severity in SEVERITIES, self.severity

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; an example has image, place, value and other, without the empty ones."""
        names = ("image", "place", "value", "other")
        examples = [{name: getattr(e, name) for name in names if getattr(e, name)} for e in self.examples]
        head = {name: getattr(self, name) for name in ("kind", "severity", "message", "advice", "count")}
        return head | {"examples": examples[:_MAX_EXAMPLES]}


class KeypointCounts(NamedTuple):
    """Number of subjects in which a keypoint is labeled, occluded, missing and out of frame."""

    name: str
    labeled: int  # visible or occluded
    occluded: int
    missing: int
    out_of_frame: int  # labeled beyond the image


@dataclass(frozen=True)
class Report:
    """All findings about one set of labels, the most severe first, with counts."""

    source: str
    subjects: int
    images: int
    unlabeled: int  # images without a labeled point
    sizes: dict[str, int]  # number of images per "WIDTHxHEIGHT", the most frequent first
    keypoints: Sequence[KeypointCounts]
    mirroring: str  # flip pairs in force, and the keypoints without; see `Skeleton.mirroring`
    splits: dict[str, int]  # number of subjects per split; empty without a split
    findings: Sequence[Finding] = ()

    @property
    def has_errors(self) -> bool:
        """True if a finding would stop training or spoil its result."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: the fields by name, `has_errors`, and the `version` of this layout."""
        return {"version": 1, "has_errors": self.has_errors} | {
            **vars(self),
            "keypoints": [counts._asdict() for counts in self.keypoints],
            "findings": [finding.to_dict() for finding in self.findings],
        }


def finding_of(kind: str, severity: str, message: str, examples: Sequence[Example], advice: str) -> list[Finding]:
    """Return a list with one finding, or an empty list without examples; `message` ends in their number."""
    if not examples:
        return []
    return [Finding(kind, severity, f"{message}: {len(examples)}", examples, advice, len(examples))]
