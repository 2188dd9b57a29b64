"""Flip pairs from geometry alone: those of symmetric bodies, and none where there is no choice or more than one."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from softpoint.audit.mirror import mirror_pairs, pair_findings, why_mirrored
from softpoint.data.synthetic import Figure, Shapes
from softpoint.labels.formats import read_labels
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs

CARD = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 2.0], [0.0, 2.0]])


def painted(painter: Figure | Shapes, missing: float = 0.0) -> np.ndarray:
    poses = np.array([painter.draw(np.random.default_rng(seed), (64, 64)).keypoints for seed in range(80)])
    poses[np.random.default_rng(0).random(poses.shape[:2]) < missing] = np.nan
    return poses


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_pairs_of_a_body_are_found_without_their_names(missing: float) -> None:
    skeleton = Figure.skeleton
    pairs = [(skeleton.index(left), skeleton.index(right)) for left, right in skeleton.flip_pairs]
    assert mirror_pairs(painted(Figure(0.5), missing)) == pairs
    order = np.random.default_rng(1).permutation(len(skeleton))
    shuffled = mirror_pairs(painted(Figure(0.5), missing)[:, order])
    assert {frozenset(order[list(pair)]) for pair in shuffled} == set(map(frozenset, pairs))


@pytest.mark.parametrize(
    "poses",
    [
        painted(Shapes(0.5)),
        CARD + np.random.default_rng(0).normal(0, 0.1, (100, 4, 2)),  # mirrored along either side
        np.random.default_rng(0).normal(0, 1, (100, 12, 2)),
        np.zeros((100, 5, 2)),
        painted(Figure(0.5))[:20],
        np.full((0, 4, 2), np.nan),
    ],
    ids=["chiral", "ambiguous", "noise", "one point", "few", "none"],
)
def test_nothing_is_proposed_without_one_clear_choice(poses: np.ndarray) -> None:
    assert mirror_pairs(poses) == []


@pytest.mark.parametrize(
    ("name", "advice"),
    [("dlc-openfield", "[[b,c]]"), ("fly-wing", None), ("mirror-mouse", None), ("ultrasound-tongue", None)],
)
def test_real_sets(data_root: Path, name: str, advice: str | None) -> None:
    labels = read_labels(data_root / "keypoints" / "labels" / f"{name}.csv")
    names = tuple("abcdefghijklmnopq"[: len(labels.skeleton)])
    unnamed = replace(labels, skeleton=replace(labels.skeleton, names=names, flip_pairs=()))
    findings = pair_findings(unnamed)
    assert len(findings) == (advice is not None)
    spaced = replace(
        labels, skeleton=replace(labels.skeleton, names=tuple(f"{name}, 1" for name in names), flip_pairs=())
    )
    for finding in pair_findings(spaced):
        (typed,) = [word for word in shlex.split(finding.advice) if word.startswith("data.flip_pairs=")]
        assert OverridesParser.create().parse_override(typed.rstrip(",")).value() == [["b, 1", "c, 1"]]
    assert all(f"data.flip_pairs={advice}" in finding.advice for finding in findings)


def labels_of(poses: np.ndarray, names: tuple[str, ...]) -> Labels:
    subjects = [Subject(f"{i}.png", "", points, np.full(len(points), 2)) for i, points in enumerate(poses)]
    return Labels("", "", Skeleton(names, infer_flip_pairs(names)), tuple(subjects))


def test_mirrored_images_could_be_among_symmetric_poses_and_those_of_both_sides() -> None:
    rng, names = np.random.default_rng(0), ("nose", "left_ear", "right_ear", "tail")
    face = np.array([[0.0, 0.0], [-1.0, 2.0], [1.0, 2.0], [0.0, 6.0]]) + rng.normal(0, 0.1, (60, 4, 2))
    profile = np.array([[0.0, 0.0], [3.0, 1.0], [4.0, 1.0], [8.0, 0.0]]) + rng.normal(0, 0.1, (60, 4, 2))
    assert why_mirrored(labels_of(face, names)) == "their poses are symmetric"
    assert why_mirrored(labels_of(profile, names)) == ""
    turned = np.where(np.arange(60)[:, None, None] < 15, profile * [-1, 1], profile)
    assert why_mirrored(labels_of(turned, names)) == "both sides are seen"
    assert why_mirrored(labels_of(face, ("nose", "a", "b", "tail"))) == ""  # no left and right known
    assert why_mirrored(labels_of(face[:20], names)) == ""  # too few to tell
    assert why_mirrored(labels_of(face[:, :3], names[:3])) == ""  # one triangle, which turns round in any case
