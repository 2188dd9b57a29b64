"""Metadata of an exported file, stored in it and in a JSON file beside it."""

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
    """Return all that a reader of the file needs, as plain values; `size` (H, W) is that of every image, if fixed."""
    skeleton = checkpoint.skeleton
    return {
        "format": FORMAT,
        "version": __version__,
        "keypoints": list(skeleton.names),
        "edges": [list(edge) for edge in skeleton.edges],
        "flip_pairs": [list(pair) for pair in skeleton.flip_pairs],
        "size": list(checkpoint.size),
        "image_size": None if size is None else list(size),
        "color": "RGB",
        "crops": checkpoint.crops,
        "inputs": {"images": "uint8 (B, H, W, 3)"} | ({"boxes": "float32 (B, 4)"} if checkpoint.crops else {}),
        "outputs": outputs,
        "coordinates": "(x, y) in pixels of the image; integers are pixel centers",
        "confidence_radius": float(checkpoint.net.calibration.radius) or None,  # in pixels of the network's input
        "precision": precision,
        "metrics": checkpoint.record.get("metrics", {}),
        "weights_license": checkpoint.record.get("weights_license"),
        "checkpoint": checkpoint.path.name,
        "checkpoint_sha256": sha256(checkpoint.weights_file),
    }


def write_sidecar(path: Path, metadata: dict[str, Any]) -> None:
    """Write the metadata beside the file: model.onnx.json for model.onnx."""
    write_json(path.with_name(f"{path.name}.json"), metadata)
