"""What an exported file says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from softpoint import __version__
from softpoint.inference.checkpoint import Checkpoint
from softpoint.paths import sha256, write_json
from softpoint.runtime import FORMAT


def describe(
    checkpoint: Checkpoint, outputs: list[str], precision: str, size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """All that a reader of the file needs to know, as plain values; `size` (H, W) is that of all its images."""
    record = checkpoint.record
    return {
        "format": FORMAT,
        "version": __version__,
        "keypoints": list(checkpoint.skeleton.names),
        "edges": [list(edge) for edge in checkpoint.skeleton.edges],
        "flip_pairs": [list(pair) for pair in checkpoint.skeleton.flip_pairs],
        "size": list(checkpoint.size),
        "image_size": None if size is None else list(size),
        "color": "RGB",
        "crops": checkpoint.crops,
        "inputs": {"images": "uint8 (B, H, W, 3)"} | ({"boxes": "float32 (B, 4)"} if checkpoint.crops else {}),
        "outputs": outputs,
        "coordinates": "(x, y) in pixels of the image; integers are pixel centers",
        "confidence_radius": float(checkpoint.net.calibration.radius) or None,  # in pixels of the network's input
        "precision": precision,
        "metrics": record.get("metrics", {}),
        "weights_license": record.get("weights_license"),
        "checkpoint": checkpoint.path.name,
        "checkpoint_sha256": sha256(checkpoint.path),
    }


def sidecar(path: Path) -> Path:
    """Where the same metadata stands beside the file.

    >>> sidecar(Path("run/model.onnx")).name
    'model.onnx.json'
    """
    return path.with_name(f"{path.name}.json")


def write_sidecar(path: Path, metadata: dict[str, Any]) -> None:
    """Writes it, whole or not at all."""
    write_json(sidecar(path), metadata)
