"""Videos for tests, whose every frame shows its number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

av = pytest.importorskip("av")


def gray(number: int) -> int:
    """The gray level of frame `number`."""
    return 20 + 5 * (number % 40)


def bits(number: int) -> np.ndarray:
    """A frame (48, 64, 3) of 2 x 4 black and white blocks, the bits of its number."""
    blocks = np.array([number >> bit & 1 for bit in range(8)], np.uint8).reshape(2, 4)
    return np.repeat((40 + 170 * blocks).repeat(24, 0).repeat(16, 1)[..., None], 3, 2)


def number_of(pixels: np.ndarray) -> int:
    """The number that a frame of `bits` shows."""
    centers = pixels.reshape(2, 24, 4, 16, 3)[:, 6:18, :, 4:12].mean((1, 3, 4)).ravel()
    return sum(1 << bit for bit, level in enumerate(centers) if level > 125)


def film(
    path: Path,
    count: int = 24,
    size: tuple[int, int] = (48, 64),
    times: Sequence[int] | None = None,
    unit: Fraction = Fraction(1, 10),
    codec: str = "libx264",
    rotation: int = 0,
    sound: bool = False,
    format: str = "yuv420p",
    draw: Callable[[int], np.ndarray] | None = None,
    **options: str,
) -> Path:
    """A video whose frame n is `draw(n)`, or noise about `gray(n)`, shown at `times` in units of `unit` seconds."""
    noise = np.random.default_rng(0).integers(-15, 16, (*size, 1))
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=10, options={"g": "8", "bf": "2", **options})
        stream.height, stream.width, stream.pix_fmt = *size, format
        stream.codec_context.time_base = unit
        if sound:
            _add_sound(container)
        if rotation:
            stream.set_display_rotation(rotation)
        for number, time in zip(range(count), times or range(count), strict=False):
            pixels = draw(number) if draw else np.broadcast_to(gray(number) + noise, (*size, 3)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format=format)
            frame.pts, frame.time_base = time, unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _add_sound(container: Any) -> None:
    stream = container.add_stream("aac", rate=8000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    frame.sample_rate = 8000
    container.mux(stream.encode(frame))
    container.mux(stream.encode())


def copied(path: Path, clip: Path, first: int = 0) -> Path:
    """A copy of the packets of a video, from number `first` on, in another container."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in [packet for packet in source.demux(video=0) if packet.size][first:]:
            packet.stream = stream
            target.mux(packet)
    return path


def packed(path: Path, clip: Path) -> Path:
    """A copy of MPEG-4 with one B-frame at a time as DivX packs it: beside the frame it needs, then an empty packet."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        contents: list[tuple[bytes, bool]] = []
        last = -1
        for packet in source.demux(video=0):
            if packet.size and packet.pts < last:
                contents[-1] = (contents[-1][0] + bytes(packet), contents[-1][1])
                contents.append((b"\0\0\1\xb6\x50\x60\x7f", False))
            elif packet.size:
                content = bytes(packet).replace(b"\0\0\1\xb6", b"\0\0\1\xb2DivX503b1393p\0\0\1\xb6", packet.is_keyframe)
                contents.append((content, packet.is_keyframe))
                last = packet.pts
        for number, (content, is_key) in enumerate(contents):
            packet = av.Packet(content)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 10), is_key
            packet.pts = packet.dts = number
            target.mux(packet)
    return path


def holed(path: Path, clip: Path) -> Path:
    """A copy of a video with some bytes in its middle lost."""
    content = bytearray(clip.read_bytes())
    middle, hole = len(content) // 2, len(content) // 16
    content[middle : middle + hole] = bytes(hole)
    path.write_bytes(content)
    return path


def cut(path: Path, clip: Path, share: float = 0.6) -> Path:
    """The first part of a video."""
    content = clip.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


class Brightness(nn.Module):
    """A network whose first keypoint is at x = the mean brightness of what it sees, in its input's pixels."""

    head, stride = None, 1

    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        self.num_keypoints, self.seen = num_keypoints, 0

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        self.seen += int(image.flatten(1).any(1).sum())  # blank ones only fill up a batch
        level = image.float().mean((1, 2, 3)) * (1.0 if image.dtype == torch.uint8 else 255.0)
        keypoints = torch.zeros(len(image), self.num_keypoints, 2)
        keypoints[:, 0, 0] = level
        keypoints[:, 1] = 7.0
        confidence = torch.linspace(0.1, 0.9, self.num_keypoints).expand(len(image), -1)
        covariance = torch.eye(2).expand(len(image), self.num_keypoints, 2, 2)
        return {"keypoints": keypoints, "confidence": confidence, "covariance": covariance}


def reading_brightness(predictor: Any, size: tuple[int, int] = (48, 64)) -> Any:
    """The predictor with that network, whose input is as large as the films are."""
    predictor.net, predictor.size = Brightness(len(predictor.skeleton)), size
    return predictor
