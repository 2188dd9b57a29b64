"""Composite clips have the truth that they state, and trackers are measured on them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softpoint.images.video import Video
from softpoint.labels.formats import read_labels

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def scripts(data_root: Path) -> Iterator[None]:
    """Makes the scripts import each other, and find the data; mice are cut out once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        patch.setenv("SOFTPOINT_DATA", str(data_root))
        yield
    for name in ("clips", "tracking", "environments"):
        sys.modules.pop(name, None)


@pytest.fixture
def clip() -> Any:
    return import_module("clips").make_clip(seed=0, subjects=3, frames=60, crossings=2)


def test_a_clip_is_a_video_and_its_labels(clip: Any, tmp_path: Path) -> None:
    clips = import_module("clips")
    assert clips.count_crossings(clip.middles) == 2
    video, labels = clips.write_clip(clip, tmp_path)
    frames = list(Video(video, 10**6).play())
    read = read_labels(labels)
    assert len(frames) == 60 and len(read) == 180 and {s.name for s in read.subjects} == {"mouse1", "mouse2", "mouse3"}
    last = {s.name: s.keypoints for s in read.subjects if s.image == "clip.mp4/000059"}
    np.testing.assert_allclose(last["mouse2"], clip.keypoints()[59, 1])
    # Mice are dark on a bright floor, also about the middles of those that others cover.
    for t in (0, 30, 59):
        assert frames[t].pixels is not None
        x, y = np.round(clip.middles[t]).astype(int).T
        assert frames[t].pixels[y, x].max() < 90 < np.median(frames[t].pixels)


def test_the_upper_one_covers_the_lower_one(clip: Any) -> None:
    points, top = clip.keypoints(), int(clip.depth.argmax())
    assert not clip.covered(points)[:, top].any() and not clip.hidden()[:, top].any()
    low = int(clip.depth.argmin())
    clip.middles[:, low] = clip.middles[:, top]
    clip.headings[:, low] = clip.headings[:, top]
    assert clip.hidden()[:, low].min() > 0.7
    clip.middles[:, low] = [-500, -500]
    assert not clip.hidden()[:, low].any()


def test_trackers_are_measured_on_finds_of_known_errors(clip: Any, capsys: pytest.CaptureFixture[str]) -> None:
    tracking = import_module("tracking")
    found = tracking.find(clip, 0)
    errors = []
    for truth, poses in zip(found.truth, found.poses, strict=True):
        apart = np.linalg.norm(truth.keypoints[:, None] - poses.keypoints, axis=-1).mean(-1)
        errors += apart.min(0)[poses.score > 0.7].tolist()
    assert 2.5 < np.mean(errors) < 4
    perfect = tracking.measured(found, [np.full(len(poses.score), 0) for poses in found.poses])
    assert perfect.misses == 180 and perfect.tracks == 0
    tracking.main(["--seeds=1", "--frames=60", "--crossings=2"])
    printed = capsys.readouterr().out
    assert "softpoint tracks.subjects=N" in printed and "Means over 4 clips of 60 frames with" in printed
