"""Measures of tracks are those of their definitions, and of the tool that HOTA comes from."""

from __future__ import annotations

import numpy as np
import pytest

from softpoint.evaluation.identities import Individuals, Reach, compare_tracks, hota, measure_tracks, similarity
from softpoint.labels.schema import VISIBLE, Labels, Subject
from softpoint.labels.skeleton import Skeleton

SHAPE = np.array([[0.0, 0.0], [60.0, 0.0], [60.0, 80.0]])  # 100 px from corner to corner
REACH = Reach(0.2)


def frame(*subjects: tuple[int, float]) -> Individuals:
    """Subjects by their ids and the x at which they are."""
    ids = np.array([number for number, _ in subjects], int)
    return Individuals(ids, np.array([SHAPE + np.array([x, 0.0]) for _, x in subjects]).reshape(-1, 3, 2))


TRUTH = [frame((1, 0.0), (2, 300.0))] * 10


def test_perfect_tracks_have_the_best_measures() -> None:
    found = [frame((7, 300.0), (5, 0.0))] * 10  # by other names, and in another order
    metrics = measure_tracks(TRUTH, found, REACH)
    assert (metrics.mota, metrics.idf1, metrics.hota, metrics.deta, metrics.assa) == (1, 1, 1, 1, 1)
    assert (metrics.frames, metrics.individuals, metrics.tracks) == (10, 2, 2)
    assert (metrics.switches, metrics.fragments, metrics.misses, metrics.false) == (0, 0, 0, 0)


def test_two_that_change_places_are_two_switches() -> None:
    found = [frame((1, 0.0), (2, 300.0))] * 4 + [frame((2, 0.0), (1, 300.0))] * 6
    metrics = measure_tracks(TRUTH, found, REACH)
    assert metrics.switches == 2 and metrics.mota == pytest.approx(1 - 2 / 20)
    assert metrics.idf1 == pytest.approx(12 / 20) and metrics.deta == 1
    # Of each individual 4 subjects are on one track and 6 on the other, and each track has 10 of them.
    assert metrics.assa == pytest.approx(0.4 * 4 / 16 + 0.6 * 6 / 14)
    assert metrics.hota == pytest.approx(np.sqrt(metrics.assa))


def test_misses_and_false_finds_are_counted() -> None:
    found = [frame((1, 0.0))] * 3 + [frame((1, 0.0), (2, 300.0), (3, 600.0))] * 7
    metrics = measure_tracks(TRUTH, found, REACH)
    assert (metrics.misses, metrics.false, metrics.switches, metrics.fragments) == (3, 7, 0, 0)
    assert metrics.mota == pytest.approx(1 - 10 / 20) and metrics.deta == pytest.approx(17 / 27)
    with pytest.raises(ValueError, match="no subject is labeled"):
        measure_tracks([frame()], [frame((1, 0.0))], REACH)
    nothing = measure_tracks(TRUTH, [frame()] * 10, REACH)
    assert (nothing.misses, nothing.hota, nothing.tracks) == (20, 0, 0)


def test_a_match_ends_at_its_distance() -> None:
    truth, found = SHAPE[None], np.stack([SHAPE + np.array([x, 0.0]) for x in (0.0, 10.0, 20.0, 20.5, 50.0)])
    assert similarity(truth, found, REACH).tolist() == [[1.0, 0.75, 0.5, pytest.approx(0.4875), 0.0]]
    assert similarity(truth, found, Reach(5.0, True)).tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0]]
    found[0, 1:] = np.nan
    assert similarity(truth, found[:1], REACH).tolist() == [[1.0]]
    found[0, 0] = np.nan
    assert similarity(truth, found[:1], REACH).tolist() == [[0.0]]


def test_hota_is_that_of_trackeval() -> None:
    """Values of TrackEval 1.3.0: HOTA().eval_sequence of the same ids and similarities."""
    rng = np.random.default_rng(5)
    truth, found, alike = [], [], []
    for _ in range(60):
        ids, others = (rng.permutation(6)[: rng.integers(0, 6)] for _ in range(2))
        likeness = rng.uniform(0, 1, (len(ids), len(others))) * (ids[:, None] == others)
        likeness = np.maximum(likeness, 0.7 * rng.uniform(0, 1, likeness.shape))
        for group, own in ((truth, ids), (found, others)):
            group.append(Individuals(own, np.empty((len(own), 1, 2))))
        alike.append(likeness)
    np.testing.assert_allclose(hota(truth, found, alike), TRACKEVAL, atol=1e-12)


TRACKEVAL = (0.14414336947582937, 0.22540047181989634, 0.09599082031849498)


def labels(source: str, poses: list[tuple[str, str, float]], names: tuple[str, ...] = ("a", "b", "c")) -> Labels:
    subjects = [Subject(i, "", SHAPE + np.array([x, 0.0]), np.full(3, VISIBLE), name=name) for i, name, x in poses]
    return Labels(source, ".", Skeleton(names), subjects)


def test_files_are_compared_in_the_labeled_frames() -> None:
    truth = labels("truth", [(f"clip.mp4/{n:06d}", name, x) for n in (2, 4) for name, x in (("ann", 0), ("bob", 300))])
    poses = [(str(n), number, x) for n in range(6) for number, x in (("1", 300.0), ("2", 1.0), ("", 500.0))]
    metrics, notes = compare_tracks(truth, labels("found", poses, ("c", "b", "a")), Reach(80, True))
    assert (metrics.frames, metrics.misses, metrics.false, metrics.switches, metrics.tracks) == (2, 0, 0, 0, 2)
    assert notes == [
        "frames are matched by the numbers of their frames",
        "2 predicted subjects are on no track and are left out",
    ]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (labels("found", [("2", "", 0.0)]), r"found has no tracks; predict with track=true"),
        (labels("found", [("9", "1", 0.0)]), r"found has no frame of truth: 9 is not in it"),
        (
            labels("found", [("2", "1", 0.0)], ("x", "y", "z")),
            r"found has no keypoint of truth: x, y, z beside a, b, c",
        ),
    ],
)
def test_predictions_that_do_not_fit_are_refused(found: Labels, message: str) -> None:
    truth = labels("truth", [("clip.mp4/000002", "ann", 0.0)])
    with pytest.raises(ValueError, match=message):
        compare_tracks(truth, found, REACH)


def test_labels_must_name_individuals() -> None:
    truth = labels("truth", [("clip.mp4/000002", "", 0.0)])
    with pytest.raises(ValueError, match="truth: 1 labeled subjects have no name"):
        compare_tracks(truth, labels("found", [("2", "1", 0.0)]), REACH)


@pytest.mark.parametrize("value", ["far", 0, -1, "0px", "nan"])
def test_a_distance_is_a_fraction_or_pixels(value: float | str) -> None:
    with pytest.raises(ValueError, match=f"distance={value} must be a fraction of a subject's size, such as 0.2, or"):
        Reach.parse(value)
