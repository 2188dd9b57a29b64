"""Subjects keep their track where they cross, are missed for a while, or are listed in another order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from softpoint.tracking import NO_TRACK, Poses, TrackOptions, track

SIZE = (480, 640)
SHAPE = np.array([[0.0, 0.0], [30.0, 0.0], [15.0, 20.0]])  # of a subject


def poses(points: np.ndarray, score: np.ndarray | None = None, sd: float = 2.0) -> Poses:
    N, K = points.shape[:2]
    covariance = np.broadcast_to(sd**2 * np.eye(2), (N, K, 2, 2))
    return Poses(points, covariance, np.full((N, K), 0.9), np.full(N, np.nan) if score is None else score)


def crossing(frames: int = 80, seed: int = 0) -> list[np.ndarray]:
    """Two subjects that cross in the middle, with noise: the first goes right, the second left and down."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None, None]
    first = np.array([100.0, 200.0]) + t * [5.0, 0.0]
    second = np.array([500.0, 120.0]) + t * [-5.0, 2.0]
    both = np.stack([first + SHAPE, second + SHAPE], axis=1)
    return list(both + rng.normal(0, 2, both.shape))


def tracks(frames: list[Poses], **options: Any) -> list[list[int]]:
    found = track(lambda: enumerate(frames), SIZE, len(SHAPE), TrackOptions(**options))
    return [ids.tolist() for ids in found.ids]


def test_two_that_cross_keep_their_tracks() -> None:
    assert tracks([poses(points) for points in crossing()]) == [[1, 2]] * 80


def test_two_at_one_place_are_told_apart_by_their_poses() -> None:
    """They stand in one place for long and turn about it, the one against the other."""
    angles = np.linspace(0, 2 * np.pi, 60)
    centered = SHAPE - SHAPE.mean(0)
    frames = []
    for a in angles:
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        frames.append(poses(np.stack([centered @ turn.T, -centered @ turn.T]) * 3 + 240))
    ids = tracks(frames)
    assert ids == [ids[0]] * 60 and sorted(ids[0]) == [1, 2]


def test_the_order_of_subjects_in_a_frame_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    points = crossing()
    order = [rng.permutation(2) for _ in points]
    ids = tracks([poses(frame[own]) for frame, own in zip(points, order, strict=True)])
    assert all(np.array(found)[np.argsort(own)].tolist() == [1, 2] for found, own in zip(ids, order, strict=True))


@pytest.mark.parametrize(("gap", "expected"), [(8, 1), (10, 1), (11, 3)])
def test_a_gap_is_bridged_up_to_its_longest(gap: int, expected: int) -> None:
    frames = [poses(frame[:1] if 20 <= t < 20 + gap else frame) for t, frame in enumerate(crossing())]
    ids = tracks(frames, max_gap=10)
    assert ids[19] == [1, 2] and ids[20] == [1]
    assert ids[20 + gap] == [1, 2 if expected == 1 else 3]


def test_what_is_found_in_few_frames_is_no_track() -> None:
    frames = crossing()
    for t in (5, 30, 31):  # a false find, alone and in two frames
        frames[t] = np.concatenate([SHAPE[None] + [300, 400], frames[t]])
    ids = tracks([poses(frame) for frame in frames])
    assert [ids[t] for t in (5, 30, 31)] == [[NO_TRACK, 1, 2]] * 3 and {n for own in ids for n in own} == {0, 1, 2}
    assert tracks([poses(frame) for frame in frames], min_frames=2)[30] == [3, 1, 2]


def test_a_low_score_goes_on_with_a_track_and_begins_none() -> None:
    scores = [np.array([0.9, 0.9 if t < 40 else 0.2]) for t in range(80)]
    frames = [poses(points, score) for points, score in zip(crossing(), scores, strict=True)]
    assert tracks(frames) == [[1, 2]] * 80
    assert tracks([frame._replace(score=np.array([0.9, 0.2])) for frame in frames[:30]]) == [[1, NO_TRACK]] * 30


def test_a_known_number_of_subjects_is_never_exceeded() -> None:
    """The second is missed for longer than any gap, and comes back elsewhere; a third is false."""
    frames = crossing(160)
    seen = [frame[:1] if 20 <= t < 90 else frame for t, frame in enumerate(frames)]
    seen = [np.concatenate([frame, SHAPE[None] + [20, 440]]) if 10 <= t < 15 else frame for t, frame in enumerate(seen)]
    ids = tracks([poses(frame) for frame in seen], subjects=2, max_gap=5)
    assert {number for own in ids for number in own} == {NO_TRACK, 1, 2}
    assert ids[12] == [1, 2, NO_TRACK] and ids[120:] == [[1, 2]] * 40
    assert tracks([poses(frame) for frame in seen], max_gap=5)[120] != [1, 2]


def test_a_false_track_does_not_keep_the_place_of_a_subject() -> None:
    """Of two subjects one is hidden at first, when something false is found for a while in its place."""
    frames = [
        poses(np.stack([np.add(SHAPE, [20, 440]), frame[1]]) if t < 10 else frame) for t, frame in enumerate(crossing())
    ]
    ids = tracks(frames, subjects=2, max_gap=5)
    assert ids[9] == [1, 2] and ids[10:15] == [[NO_TRACK, 2]] * 5
    assert ids[16:] == [[1, 2]] * 64
    assert tracks(frames, max_gap=5)[16:] == [[3, 2]] * 64


def test_points_that_are_missing_tell_nothing() -> None:
    rng = np.random.default_rng(4)
    frames = [poses(points) for points in crossing()]
    for frame in frames:
        frame.keypoints[rng.random((2, 3)) < 0.3] = np.nan
    ids = tracks(frames)
    seen = [np.isfinite(frame.keypoints).all(-1).any(-1) for frame in frames]
    assert all(found == np.where(own, [1, 2], 0).tolist() for found, own in zip(ids, seen, strict=True))


def test_frames_without_a_subject_are_none() -> None:
    assert tracks([poses(np.empty((0, 3, 2)))] * 4) == [[]] * 4
    assert tracks([poses(np.full((1, 3, 2), np.nan))] * 4) == [[NO_TRACK]] * 4


def test_the_motion_is_as_noisy_as_it_is() -> None:
    """Ten times the noise in the velocities is found to be about ten times the noise."""
    found = {}
    for noise in (0.3, 3.0):
        rng = np.random.default_rng(0)
        path = np.cumsum(np.cumsum(rng.normal(0, noise, (300, 1, 2)), axis=0), axis=0)
        path -= np.linspace(0, 1, 300)[:, None, None] * path[-1:]
        frames = [poses((240 + points + SHAPE)[None], sd=0.5) for points in path]
        found[noise] = track(lambda frames=frames: enumerate(frames), SIZE, 3, TrackOptions()).noise
    assert found == {0.3: 0.01, 3.0: 0.08}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_gap": -1}, "tracks.max_gap=-1 must be a whole number, 0 or more"),
        ({"min_frames": 0}, "tracks.min_frames=0 must be a whole number, 1 or more"),
        ({"subjects": 2.5}, "tracks.subjects=2.5 must be a whole number, 1 or more"),
        ({"max_gap": None}, "tracks.max_gap=None must be a whole number"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrackOptions(**options)
