"""Rows of a video with the tracks of their subjects, and smoothed along these tracks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from softpoint.inference.batch.predictions import Row, by_frame
from softpoint.tracking import NO_TRACK, Poses, Tracking, TrackOptions, smooth_track, track

# Frames that are smoothed at once, with as many before and after them as still have an influence.
_BLOCK, _AROUND = 256, 64


def find_tracks(rows: Callable[[], Iterator[Row]], options: TrackOptions) -> Tracking:
    """Return the tracks of the subjects in the rows of a video: a number for each row, and no more memory than that.

    Without a subject there is no track.
    """
    first = next((row for row in rows() if row.has_subject), next(rows()))
    size = first.size if first.has_subject else (1, 1)
    return track(lambda: map(_numbered, by_frame(rows())), size, len(first.keypoints), options)


def with_tracks(rows: Iterator[Row], tracking: Tracking) -> Iterator[Row]:
    """Yield rows with the tracks of their subjects."""
    for frame, ids in zip(by_frame(rows), tracking.ids, strict=True):
        for row, number in zip(frame, ids.tolist(), strict=True):
            yield row._replace(track=number)


def kalman_smoothed(rows: Iterator[Row], noise: float) -> Iterator[Row]:
    """Yield rows with their keypoints smoothed along their tracks (`tracking.smooth_track`), some frames at a time.

    Where no subject is followed, all rows are one track. Confidences and covariances stay those of the frame.
    """
    frames = by_frame(rows)
    before, block = list[list[Row]](), list(islice(frames, _BLOCK))
    while block:
        after = list(islice(frames, _BLOCK))
        near = [*before[-_AROUND:], *block, *after[:_AROUND]]
        smoothed = _smoothed([row for frame in near for row in frame], noise)
        start = sum(map(len, before[-_AROUND:]))
        yield from smoothed[start : start + sum(map(len, block))]
        before, block = block, after


def _smoothed(rows: list[Row], noise: float) -> list[Row]:
    """Return the rows of some frames with the points of each track smoothed."""
    tracks: dict[int | None, list[int]] = {}
    for i, row in enumerate(rows):
        if row.has_subject and row.track != NO_TRACK:
            tracks.setdefault(row.track, []).append(i)
    result = list(rows)
    for places in tracks.values():
        own = [rows[i] for i in places]
        frames = np.array([row.number for row in own])
        for i, points in zip(places, smooth_track(frames, _poses(own), own[0].size, noise), strict=True):
            result[i] = rows[i]._replace(keypoints=points)
    return result


def _numbered(frame: Sequence[Row]) -> tuple[int, Poses]:
    return frame[0].number, _poses(frame)


def _poses(rows: Sequence[Row]) -> Poses:
    return Poses(*(np.stack([getattr(row, part) for row in rows]) for part in Poses._fields))
