"""Trackers on composite clips of 2 to 5 mice that cross each other: identity switches, IDF1, HOTA and time.

python benchmarks/tracking.py ENVIRONMENTS --seeds 5

Tracking alone is measured. Found are the true poses (benchmarks/clips.py) with errors of 3 px in the mean, of 9 px
where a point is covered; half of their variance passes slowly. Of the subjects 5 % are missed, and more of those that
are covered; one in twenty frames has a false find, and of the subjects that are half covered one in ten is a second
find of the one above. Every tracker has the same finds, and waits 30 frames for a subject that is missed.
ENVIRONMENTS is a folder, in which each other tracker is installed once; one that cannot be is a row with the reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clips import Clip, count_crossings, make_clip
from environments import Requirements, environment
from softpoint.evaluation.identities import Individuals, Reach, TrackMetrics, measure_tracks
from softpoint.studies.markdown import hardware, update_page
from softpoint.tables import console, markdown_table, print_markdown
from softpoint.tracking import NO_TRACK, Poses, TrackOptions, smooth_track, track

ERROR, COVERED, MISSED, FALSE, DOUBLED = 3.0, 3.0, 0.05, 0.05, 0.1
SUBJECTS = (2, 3, 4, 5)
_MEAN = 1.2533  # mean length of an error in units of its standard deviation along an axis

_NORFAIR, _ROBOFLOW = Requirements("norfair", "2.3.0", torch=False), Requirements("trackers", "2.6.1", torch=False)
# By name: the driver in the folder `peers`, its settings, and what is installed for it.
PEERS: dict[str, tuple[str, dict[str, Any], Requirements]] = {
    "norfair, 30 px": ("norfair", {"distance_threshold": 30}, _NORFAIR),
    "norfair, 60 px": ("norfair", {"distance_threshold": 60}, _NORFAIR),
    "norfair, 100 px": ("norfair", {"distance_threshold": 100}, _NORFAIR),
    "trackers SORT": ("boxes", {"class": "SORTTracker"}, _ROBOFLOW),
    "trackers ByteTrack": ("boxes", {"class": "ByteTrackTracker"}, _ROBOFLOW),
    "trackers OC-SORT": ("boxes", {"class": "OCSORTTracker"}, _ROBOFLOW),
    "trackers C-BIoU": ("boxes", {"class": "CBIoUTracker"}, _ROBOFLOW),
}


@dataclass(frozen=True)
class Found:
    """What is found in the frames of a clip, and its truth."""

    subjects: int
    truth: list[Individuals]
    poses: list[Poses]


# The tracks of what is found: an id for each subject of each frame, and the CPU seconds.
Tracks = tuple[list[np.ndarray], float]


def find(clip: Clip, seed: int) -> Found:
    """Return what a model of usual errors finds in a clip."""
    rng = np.random.default_rng([seed, 1])
    true, hidden = clip.keypoints(), clip.hidden()
    T, N, K, _ = true.shape
    spread = ERROR / _MEAN * np.exp(rng.normal(0, 0.3, (T, N, K))) * np.where(clip.covered(true), COVERED, 1)
    slow, fast = rng.normal(size=(2, T, N, K, 2))
    for t in range(1, T):
        slow[t] = 0.8 * slow[t - 1] + 0.6 * slow[t]
    points = true + (slow + fast) / np.sqrt(2) * spread[..., None]
    stated = spread * np.exp(rng.normal(0, 0.3, spread.shape))  # a covariance is not exact, either
    missed = rng.random((T, N)) < MISSED + 0.85 * np.clip((hidden - 0.3) / 0.7, 0, 1)
    score = np.clip(1 - 0.6 * hidden - rng.exponential(0.08, (T, N)), 0.05, 1)
    frames = []
    for t in range(T):
        seen = np.flatnonzero(~missed[t])
        doubles = [_above(clip, t, n) for n in np.flatnonzero((hidden[t] > 0.4) & (rng.random(N) < DOUBLED)).tolist()]
        extra = [true[t, n] for n in doubles] + [_elsewhere(true[t], rng) for _ in range(rng.poisson(FALSE))]
        more = np.array(extra).reshape(-1, K, 2) + rng.normal(0, 2 * ERROR / _MEAN, (len(extra), K, 2))
        sd = np.concatenate([stated[t, seen], np.full((len(extra), K), 2 * ERROR / _MEAN)])
        all_points = np.concatenate([points[t, seen], more])
        all_scores = np.concatenate([score[t, seen], rng.uniform(0.1, 0.65, len(extra))])
        order = rng.permutation(len(sd))
        confidence = np.clip(1 / (1 + (sd / 6) ** 2), 0.05, 1)
        parts = (all_points, sd[..., None, None] ** 2 * np.eye(2), confidence, all_scores)
        frames.append(Poses(*(part[order] for part in parts)))
    return Found(N, [Individuals(np.arange(N), poses) for poses in true], frames)


def _above(clip: Clip, t: int, subject: int) -> int:
    """Return the subject that is nearest to another."""
    apart = np.linalg.norm(clip.middles[t] - clip.middles[t, subject], axis=-1)
    apart[subject] = np.inf
    return int(apart.argmin())


def _elsewhere(poses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one of the poses, turned and at any place of the arena."""
    pose, angle = poses[rng.integers(len(poses))], rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    moved: np.ndarray = (pose - pose.mean(0)) @ turn + rng.uniform((60, 80), (580, 420))
    return moved


def own_tracks(found: Found, known: bool = False, at_least: float = 0.0) -> Tracks:
    """Return the tracks of softpoint, with the number of subjects or without, of finds with some score."""
    kept = [poses.score >= at_least for poses in found.poses]
    chosen = [Poses(*(part[rows] for part in poses)) for poses, rows in zip(found.poses, kept, strict=True)]
    options = TrackOptions(subjects=found.subjects if known else None)
    start = time.process_time()
    tracking = track(lambda: enumerate(chosen), (480, 640), found.poses[0].keypoints.shape[1], options)
    seconds = time.process_time() - start
    ids = [np.full(len(rows), NO_TRACK) for rows in kept]
    for all_ids, rows, own in zip(ids, kept, tracking.ids, strict=True):
        all_ids[rows] = own
    return ids, seconds


def peer_tracks(found: Found, python: Path, driver: str, settings: dict[str, Any]) -> Tracks:
    """Return the tracks of another tracker, in an environment of its own."""
    counts = [len(poses.keypoints) for poses in found.poses]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "found.npz", Path(folder) / "ids.npz"
        points, scores = (np.concatenate([getattr(p, name) for p in found.poses]) for name in ("keypoints", "score"))
        frame = np.repeat(np.arange(len(counts)), counts)
        np.savez(source, frame=frame, keypoints=points, score=scores, frames=len(counts))
        script = Path(__file__).parent / "peers" / f"track_{driver}.py"
        words = [str(python), str(script), str(source), str(target), json.dumps(settings)]
        subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        result = np.load(target)
        return np.split(result["ids"], np.cumsum(counts)[:-1]), float(result["seconds"])


def smoothing_errors(found: Found) -> tuple[float, float]:
    """Return the mean errors in px of the points on tracks, as they are found and as they are smoothed."""
    tracking = track(lambda: enumerate(found.poses), (480, 640), found.poses[0].keypoints.shape[1], TrackOptions())
    plain, smoothed = [], []
    for number in range(1, tracking.count + 1):
        frames = np.array([t for t, ids in enumerate(tracking.ids) if number in ids])
        rows = [(found.poses[t], int(np.flatnonzero(tracking.ids[t] == number)[0])) for t in frames]
        own = Poses(*(np.stack([getattr(poses, name)[row] for poses, row in rows]) for name in Poses._fields))
        truth = np.stack([found.truth[t].keypoints for t in frames])
        nearest = np.linalg.norm(truth - own.keypoints[:, None], axis=-1).mean(-1).argmin(1)
        right, points = truth[np.arange(len(frames)), nearest], smooth_track(frames, own, (480, 640), tracking.noise)
        plain.append(np.linalg.norm(own.keypoints - right, axis=-1).ravel())
        smoothed.append(np.linalg.norm(points - right, axis=-1).ravel())
    return float(np.concatenate(plain).mean()), float(np.concatenate(smoothed).mean())


def measured(found: Found, ids: list[np.ndarray]) -> TrackMetrics:
    """Return the measures of tracks."""
    followed = [
        Individuals(own[own != NO_TRACK], poses.keypoints[own != NO_TRACK])
        for own, poses in zip(ids, found.poses, strict=True)
    ]
    return measure_tracks(found.truth, followed, Reach(0.2))


def table(clips: Sequence[Found], folder: Path | None) -> list[list[str]]:
    """Return a row of means over all clips for each tracker."""
    methods: dict[str, Callable[[Found], Tracks] | str] = {
        "softpoint": own_tracks,
        "softpoint, finds of score 0.5 and more": lambda found: own_tracks(found, at_least=0.5),
        "softpoint tracks.subjects=N": lambda found: own_tracks(found, known=True),
    }
    if folder is not None:
        methods |= {name: _peer(folder, *peer) for name, peer in PEERS.items()}
    rows = []
    for name, method in methods.items():
        if isinstance(method, str):
            rows.append([name, method, *[""] * 6])
            continue
        results = [
            (measured(found, ids), seconds / len(found.poses)) for found in clips for ids, seconds in [method(found)]
        ]
        rows.append([name, *_cells([metrics for metrics, _ in results], [cost for _, cost in results])])
    return rows


def _peer(folder: Path, driver: str, settings: dict[str, Any], wanted: Requirements) -> Callable[[Found], Tracks] | str:
    """Return the function of another tracker, or why it is not installed."""
    try:
        python = environment(folder, wanted)
    except subprocess.CalledProcessError as error:
        return f"not installed: {(error.stdout.strip().splitlines() or [''])[-1]}"
    return lambda found: peer_tracks(found, python, driver, settings)


def _cells(metrics: Sequence[TrackMetrics], costs: Sequence[float]) -> list[str]:
    switches = [one.switches for one in metrics]
    extra = np.mean([one.tracks - one.individuals for one in metrics])
    means = [float(np.mean([getattr(one, name) for one in metrics])) for name in ("idf1", "hota", "mota")]
    shares = [f"{mean:.3f}" for mean in means]
    return [f"{np.mean(switches):.1f}", str(max(switches)), f"{extra:+.1f}", *shares, f"{1000 * np.mean(costs):.2f}"]


def main(arguments: Sequence[str]) -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("environments", type=Path, nargs="?", help="of the other trackers, which are left out without")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--crossings", type=int, default=20)
    parser.add_argument("--every", type=int, default=1, help="leave out frames: each that is left is of this many")
    parser.add_argument("--page", type=Path, help="a page of the documentation to write the table into")
    options = parser.parse_args(arguments)
    clips, crossings = [], []
    for subjects in SUBJECTS:
        for seed in range(options.seeds):
            clip = make_clip(seed, subjects, options.frames, options.crossings)
            found = find(clip, seed)
            clips.append(Found(subjects, found.truth[:: options.every], found.poses[:: options.every]))
            crossings.append(count_crossings(clip.middles))
    head = ["tracker", "switches", "most", "tracks too many", "IDF1", "HOTA", "MOTA", "ms per frame"]
    content = markdown_table(head, table(clips, options.environments))
    plain, smoothed = np.mean([smoothing_errors(found) for found in clips], axis=0)
    about = (
        f"Means over {len(clips)} clips of {len(clips[0].poses)} frames with {min(crossings)} to {max(crossings)}"
        f" crossings of {SUBJECTS[0]} to {SUBJECTS[-1]} mice. The mean error of points is {plain:.2f} px, and"
        f" {smoothed:.2f} px with smoothing=kalman."
        f" `python benchmarks/tracking.py {' '.join(arguments)}`, on {hardware()}."
    )
    print_markdown(content, console())
    print(about)
    if options.page:
        name = "trackers" if options.every == 1 else f"trackers, one frame of {options.every}"
        update_page(options.page, name, f"### {name.capitalize()}\n\n{content}\n\n{about}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
