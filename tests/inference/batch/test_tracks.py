"""Rows have the tracks of their subjects, and are smoothed along them, in every file and after a resumed job."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.predictions import SKELETON, predicted
from helpers.training import read_csv
from softpoint.colors import palette
from softpoint.inference.batch import tracks
from softpoint.inference.batch.drawing import draw_rows
from softpoint.inference.batch.predictions import Predictions, Row, median_smoothed
from softpoint.inference.batch.tracks import find_tracks, kalman_smoothed, with_tracks
from softpoint.inference.batch.writers import FORMATS, write_table
from softpoint.labels.formats import read_labels
from softpoint.labels.predictions import read_predictions
from softpoint.tracking import NO_TRACK, TrackOptions

SHAPE = np.array([[0.0, 0.0], [9.0, 0.0], [4.0, 6.0]])


def at(x: float, y: float) -> np.ndarray:
    return SHAPE + np.array([x, y])


def rows(frames: int = 30, seed: int = 0) -> list[Row]:
    """Two subjects that pass each other and change places in the list, a false find, and a frame of nothing."""
    rng = np.random.default_rng(seed)
    points = []
    for t in range(frames):
        pair = [at(10 + t, 10), at(40 - t, 25)][:: 1 if t % 3 else -1]
        found = [*pair, at(50, 40)] if t == 7 else pair
        points.append(np.stack(found) + rng.normal(0, 0.3, (len(found), 3, 2)) if t != 12 else np.empty((0, 3, 2)))
    noisy = predicted(points).rows()
    return [row._replace(covariance=np.broadcast_to(0.1 * np.eye(2), (3, 2, 2))) for row in noisy]


def tracked(own: list[Row]) -> list[Row]:
    return list(with_tracks(iter(own), find_tracks(lambda: iter(own), TrackOptions())))


def predictions(own: list[Row], count: int = 2) -> Predictions:
    return Predictions(SKELETON, Path("clip.mp4"), None, lambda: iter(own), tracks=count)


def test_a_track_is_a_subject() -> None:
    for row in tracked(rows()):
        if not row.has_subject or row.keypoints[0, 1] > 35:
            assert row.track == NO_TRACK
        else:
            assert row.track == (1 if row.keypoints[0, 1] < 18 else 2)


def test_every_file_has_the_tracks(tmp_path: Path) -> None:
    own = tracked(rows())
    for name in ("coco", "dlc_csv"):
        FORMATS[name].write(tmp_path / FORMATS[name].file, predictions(own))
    write_table(tmp_path / "predictions.csv", predictions(own))
    cells = [row["track"] for row in read_csv(tmp_path / "predictions.csv")]
    assert cells == [str(row.track or "") for row in own] and {*cells} == {"1", "2", ""}
    entries = json.loads((tmp_path / "predictions_coco.json").read_text())
    assert [entry.get("track_id", 0) for entry in entries] == [row.track for row in own if row.has_subject]
    table = read_labels(tmp_path / "predictions_dlc.csv")
    by_name = {name: {s.image for s in table.subjects if s.name == name} for name in ("individual1", "individual2")}
    assert [len(images) for images in by_name.values()] == [29, 29]
    assert all(s.keypoints[0, 1] < 18 for s in table.subjects if s.name == "individual1")


def test_files_of_tracks_name_individuals_when_they_are_read(tmp_path: Path) -> None:
    own = tracked(rows())
    write_table(tmp_path / "predictions.csv", predictions(own))
    FORMATS["coco"].write(tmp_path / "results.json", predictions(own))
    for file in ("predictions.csv", "results.json"):
        found = read_predictions(tmp_path / file, SKELETON.names)
        assert {s.name for s in found.subjects} == {"1", "2", ""}, file
        assert all(s.keypoints[0, 1] < 18 for s in found.subjects if s.name == "1"), file


def test_a_sleap_file_has_the_tracks(tmp_path: Path) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    own = tracked(rows())
    FORMATS["slp"].write(tmp_path / "p.slp", predictions(own))
    labels = sleap_io.load_slp(str(tmp_path / "p.slp"), open_videos=False)
    assert [one.name for one in labels.tracks] == ["individual1", "individual2"]
    names = [i.track and i.track.name for frame in labels.labeled_frames for i in frame.instances]
    assert names == [f"individual{row.track}" if row.track else None for row in own if row.has_subject]


def test_the_median_is_that_of_the_track() -> None:
    own = tracked(rows())
    smoothed = list(median_smoothed(iter(own), 3))
    for number in (1, 2):
        raw = {row.number: row.keypoints for row in own if row.track == number}
        result = {row.number: row.keypoints for row in smoothed if row.track == number}
        np.testing.assert_allclose(result[5], np.median([raw[4], raw[5], raw[6]], axis=0))
        np.testing.assert_array_equal(result[11], raw[11])  # nothing is known of the frame after it
    (false,) = [row for row in smoothed if row.has_subject and row.track == NO_TRACK]
    np.testing.assert_array_equal(
        false.keypoints, next(row for row in own if row.number == 7 and not row.track).keypoints
    )


def test_smoothing_in_blocks_is_smoothing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = tracked(rows(120))
    whole = list(kalman_smoothed(iter(own), 0.02))
    monkeypatch.setattr(tracks, "_BLOCK", 25)
    monkeypatch.setattr(tracks, "_AROUND", 20)
    parts = list(kalman_smoothed(iter(own), 0.02))
    assert [(row.number, row.track) for row in parts] == [(row.number, row.track) for row in own]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=0.05)
    moved = [np.abs(a.keypoints - b.keypoints).max() for a, b in zip(whole, own, strict=True) if b.track]
    assert min(moved) > 0 and all((a.covariance == b.covariance).all() for a, b in zip(whole, own, strict=True))


def test_one_subject_is_smoothed_without_a_track() -> None:
    alone = [row for row in rows() if row.subject == 0 and row.keypoints[0, 1] < 18]
    smoothed = list(kalman_smoothed(iter(alone), 0.01))
    true = np.stack([at(10 + row.number, 10) for row in alone])
    errors = [np.linalg.norm(np.stack([r.keypoints for r in own]) - true, axis=-1).mean() for own in (alone, smoothed)]
    assert errors[1] < 0.8 * errors[0]


def test_a_track_has_a_color_and_a_number() -> None:
    own = [row for row in tracked(rows()) if row.number == 7]
    image = draw_rows(np.zeros((48, 64, 3), np.uint8), own, SKELETON, scale=8)
    for row in own:
        x, y = (row.keypoints[1] * 8 + 3.5).round().astype(int)
        expected = palette(2)[row.track - 1].tolist() if row.track else [150] * 3
        assert image[y, x].tolist() == expected
    untracked = draw_rows(np.zeros((48, 64, 3), np.uint8), [row._replace(track=None) for row in own], SKELETON, scale=8)
    assert (untracked != image).any()


def test_a_video_without_a_subject_has_no_track() -> None:
    empty = list(predicted([np.empty((0, 3, 2))] * 5).rows())
    assert find_tracks(lambda: iter(empty), TrackOptions()).count == 0
    assert [row.track for row in tracked(empty)] == [NO_TRACK] * 5
    assert [row.number for row in kalman_smoothed(iter(tracked(empty)), 0.01)] == [0, 1, 2, 3, 4]
