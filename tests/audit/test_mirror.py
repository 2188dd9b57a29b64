"""Flip pairs from geometry alone: those of symmetric bodies, and none where there is no choice or more than one."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from softpoint.audit.mirror import mirror_pairs, pair_findings
from softpoint.data.synthetic import Figure, Shapes
from softpoint.labels.formats import read_labels

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
