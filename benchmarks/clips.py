"""Composite clips of several subjects that cross each other, of real crops on a real background, with their truth.

python benchmarks/clips.py FOLDER --subjects 4 --seed 0 --split test

writes FOLDER/clip.mp4 and FOLDER/labels.csv, DeepLabCut's table of individuals, from the labeled images of the open
field in SOFTPOINT_DATA: a mouse is cut out by its difference from the median of all images, turned and moved along a
smooth path with a soft edge. Which mouse is above another is drawn once per clip. With `--split test` all mice are of
the images that data/splits/openfield.csv holds back, so that a model that trained on the others has not seen them.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from softpoint.images.decode import read_image
from softpoint.images.ffmpeg import pyav
from softpoint.labels.formats import dlc_csv, read_labels
from softpoint.labels.schema import VISIBLE, Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split import read_splits

FRAME_RATE = 30
SPLITS = Path(__file__).parents[1] / "data/splits/openfield.csv"
_DARK, _LIT = 25.0, 60.0  # differences from the background at which a pixel begins to be, and is, of the mouse
_CLEAR = 60  # px to the border of the image that a mouse needs to be cut out
_INSIDE = ((130, 120), (510, 360))  # where paths turn: left top, right bottom
_TURNING = 6.0  # frames: the standard deviation of the time that a turn takes
_TOUCH, _APART = 45.0, 170.0  # px between the middles of two mice that cross, and that are well apart


class Sprite(NamedTuple):
    """A mouse that was cut out: its pixels, opacity and keypoints about its middle, which is that of the pixels."""

    pixels: np.ndarray  # float32 (S, S, 3)
    opacity: np.ndarray  # float32 (S, S), 0 to 1
    keypoints: np.ndarray  # (K, 2), from the middle
    heading: float  # angle from x to y that it looks to


@dataclass(frozen=True, eq=False)
class Clip:
    """T frames of N subjects with K keypoints; a subject is above those of a smaller `depth`."""

    background: np.ndarray  # uint8 (H, W, 3)
    sprites: Sequence[Sprite]
    skeleton: Skeleton
    middles: np.ndarray  # (T, N, 2)
    headings: np.ndarray  # (T, N)
    depth: np.ndarray  # (N,)

    def __len__(self) -> int:
        return len(self.middles)

    def keypoints(self) -> np.ndarray:
        """Return the keypoints (T, N, K, 2) in pixels."""
        turns = self.headings - np.array([sprite.heading for sprite in self.sprites])
        local = np.stack([sprite.keypoints for sprite in self.sprites])
        points: np.ndarray = self.middles[:, :, None] + np.einsum("tnij,nkj->tnki", _rotations(turns), local)
        return points

    def covered(self, points: np.ndarray) -> np.ndarray:
        """Return which points (T, N, P, 2) of the subjects others are above, bool (T, N, P)."""
        turns = self.headings - np.array([sprite.heading for sprite in self.sprites])
        result = np.zeros(points.shape[:-1], bool)
        for above, below in combinations(np.argsort(-self.depth).tolist(), 2):
            offset = points[:, below] - self.middles[:, None, above]
            place = np.einsum("tji,tpj->tpi", _rotations(turns[:, above]), offset)
            opacity = self.sprites[above].opacity
            cells = np.round(place + (len(opacity) - 1) / 2).astype(int)
            inside = ((cells >= 0) & (cells < len(opacity))).all(-1)
            x, y = np.where(inside[..., None], cells, 0).transpose(2, 0, 1)
            result[:, below] |= inside & (opacity[y, x] > 0.5)
        return result

    def hidden(self) -> np.ndarray:
        """Return the share (T, N) of each body that others are above."""
        bodies = []
        for sprite in self.sprites:
            rows, columns = np.nonzero(cv2.erode(sprite.opacity, np.ones((9, 9))) > 0.5)  # without the thin tail
            chosen = np.linspace(0, len(rows) - 1, 60).astype(int)
            bodies.append(np.stack([columns, rows], 1)[chosen] - (len(sprite.opacity) - 1) / 2)
        turns = self.headings - np.array([sprite.heading for sprite in self.sprites])
        points = self.middles[:, :, None] + np.einsum("tnij,npj->tnpi", _rotations(turns), np.stack(bodies))
        share: np.ndarray = self.covered(points).mean(-1)
        return share

    def frames(self) -> Iterator[np.ndarray]:
        """Yield the frames, uint8 (H, W, 3)."""
        height, width = self.background.shape[:2]
        for middles, headings in zip(self.middles, self.headings, strict=True):
            frame = self.background.astype(np.float32)
            for n in np.argsort(self.depth):
                sprite = self.sprites[n]
                half, turn = (len(sprite.opacity) - 1) / 2, _rotations(headings[n] - sprite.heading)
                matrix = np.hstack([turn, (middles[n] - turn @ [half, half])[:, None]])
                pixels = cv2.warpAffine(sprite.pixels, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
                opacity = cv2.warpAffine(sprite.opacity, matrix, (width, height))[..., None]
                frame += opacity * (pixels - frame)
            yield np.round(frame).astype(np.uint8)


def make_clip(seed: int, subjects: int, frames: int = 1000, crossings: int = 20, split: str | None = None) -> Clip:
    """Return a clip whose subjects cross each other about so often: led in pairs, or by chance."""
    background, sprites, skeleton = cut_out(split)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(sprites), subjects, replace=False)
    for led in range(crossings, 0, -1):
        middles = _paths(rng, subjects, frames, led)
        if count_crossings(middles) <= crossings:
            break
    velocity = gaussian_filter1d(np.gradient(middles, axis=0), 4.0, axis=0)
    headings = np.unwrap(np.arctan2(velocity[..., 1], velocity[..., 0]), axis=0)
    headings = gaussian_filter1d(headings, _TURNING, axis=0)
    return Clip(background, [sprites[i] for i in chosen], skeleton, middles, headings, rng.permutation(subjects))


def count_crossings(middles: np.ndarray) -> int:
    """Return how often two subjects come to overlap."""
    count = 0
    for i, j in combinations(range(middles.shape[1]), 2):
        near = np.linalg.norm(middles[:, i] - middles[:, j], axis=-1) < _TOUCH
        count += int((np.diff(near.astype(int), prepend=0) == 1).sum())
    return count


def write_clip(clip: Clip, folder: Path) -> tuple[Path, Path]:
    """Write clip.mp4 and labels.csv, in which frames are clip.mp4/000012, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    video, labels, points = folder / "clip.mp4", folder / "labels.csv", clip.keypoints()
    with pyav().open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAME_RATE), options={"crf": "18"})
        stream.height, stream.width, stream.pix_fmt = *clip.background.shape[:2], "yuv420p"
        for pixels in clip.frames():
            container.mux(stream.encode(pyav().VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    states = np.full(points.shape[2], VISIBLE)
    subjects = [
        Subject(f"{video.name}/{t:06d}", f"frame {t}", pose, states, name=f"mouse{n + 1}")
        for t, poses in enumerate(points)
        for n, pose in enumerate(poses)
    ]
    size = np.tile(clip.background.shape[:2], (len(subjects), 1))
    dlc_csv.write(Labels(str(labels), str(folder), clip.skeleton, subjects), labels, size)
    return video, labels


@cache
def cut_out(split: str | None = None) -> tuple[np.ndarray, tuple[Sprite, ...], Skeleton]:
    """Return the open field without a mouse, the mice of a split or of all that lie free in it, and their skeleton."""
    root = Path(os.environ["SOFTPOINT_DATA"]) / "keypoints"
    labels = read_labels(root / "labels" / "dlc-openfield.csv")
    if split is None:
        labels = labels.select(slice(0, None, 2))  # enough of them
    else:
        labels = labels.select(read_splits(SPLITS, labels.images)[split])
    images = [read_image(root / "dlc-openfield" / name) for name in labels.images]
    background = np.median(images, axis=0).astype(np.uint8)
    sprites = [_sprite(image, background, pose) for image, pose in zip(images, labels.keypoints, strict=True)]
    return background, tuple(sprite for sprite in sprites if sprite is not None), labels.skeleton


def _sprite(image: np.ndarray, background: np.ndarray, pose: np.ndarray) -> Sprite | None:
    """Return the mouse of an image; None where it is near the border or its keypoints are not on it."""
    difference = np.abs(image.astype(np.float32) - background).max(-1)
    opacity = np.clip((difference - _DARK) / (_LIT - _DARK), 0, 1)
    _, parts = cv2.connectedComponents((opacity > 0.5).astype(np.uint8))
    snout, tail = pose[0], pose[-1]
    middle = (snout + tail) / 2
    part = parts[tuple(np.round(middle).astype(int)[::-1])]
    if not part or (parts == part).sum() > 15_000:
        return None
    mask = cv2.dilate((parts == part).astype(np.uint8), np.ones((5, 5)))
    rows, columns = np.nonzero(mask)
    edges = (columns.min(), rows.min(), image.shape[1] - 1 - columns.max(), image.shape[0] - 1 - rows.max())
    if min(edges) < _CLEAR // 3 or min(*pose.min(0), *(np.array(image.shape[1::-1]) - pose.max(0))) < _CLEAR:
        return None
    reach = int(np.ceil(max(np.hypot(columns - middle[0], rows - middle[1])))) + 4
    x, y = np.round(middle).astype(int)
    source = np.pad(image, [(reach, reach), (reach, reach), (0, 0)], mode="edge").astype(np.float32)
    opaque = np.pad(cv2.GaussianBlur(opacity * mask, (0, 0), 0.8), reach)
    window = slice(y, y + 2 * reach + 1), slice(x, x + 2 * reach + 1)
    heading = float(np.arctan2(*(snout - tail)[::-1]))
    return Sprite(source[window], opaque[window], pose - [x, y], heading)


def _paths(rng: np.random.Generator, subjects: int, frames: int, crossings: int) -> np.ndarray:
    """Return smooth paths (T, N, 2) on which a pair meets at each of some times; between them all are apart."""
    places, pairs = rng.uniform(*_INSIDE, (2 * crossings + 1, subjects, 2)), range(1, 2 * crossings, 2)
    for step, place in enumerate(places):
        pair = rng.choice(subjects, 2, replace=False).tolist() if step in pairs else []
        for subject in sorted(range(subjects), key=pair.__contains__):
            candidates = rng.uniform(*_INSIDE, (30, 2))
            near = np.linalg.norm(candidates - places[max(0, step - 1), subject], axis=-1)
            apart = np.linalg.norm(candidates[:, None] - np.delete(place, subject, axis=0), axis=-1).min(1)
            place[subject] = candidates[(np.minimum(apart, _APART) - 0.5 * near).argmax()]
        if pair:
            place[pair[1]] = place[pair[0]] + rng.normal(0, 5, 2)
    times = np.linspace(0, frames - 1, len(places))
    path: np.ndarray = CubicSpline(times, places, bc_type="natural")(np.arange(frames)).clip([60, 80], [580, 420])
    return path


def _rotations(angles: np.ndarray | float) -> np.ndarray:
    """Return matrices (..., 2, 2) that turn (x, y) by angles from x to y."""
    c, s = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


def main(arguments: Sequence[str]) -> None:
    parser = ArgumentParser(description="Write a composite clip and its labels.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--crossings", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "test"), help="of the images that mice are cut out of")
    options = parser.parse_args(arguments)
    clip = make_clip(options.seed, options.subjects, options.frames, options.crossings, options.split)
    video, labels = write_clip(clip, options.folder)
    print(
        f"{len(clip)} frames of {options.subjects} mice, {count_crossings(clip.middles)} crossings: {video}, {labels}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
