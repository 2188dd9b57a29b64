"""Published weights, converted from their own formats to safetensors; no code in them is run."""

from __future__ import annotations

import json
import math
import pickletools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from softpoint.inference.safe_load import check_pickle, check_values
from softpoint.models.backbones.timm import whole_state
from softpoint.paths import atomic_write

_PICKLES = 5  # magic number, version, machine, values, and the order of the tensors, whose bytes follow


def efficientnet(folder: Path, path: Path, name: str) -> None:
    """Write the one .pth in a folder, whose tensors are in the order of timm's network `name`, under timm's names.

    The classifier, which no backbone has, and the counters of batch normalization are left out.
    Raises ValueError for tensors of other shapes.
    """
    (file,) = folder.rglob("*.pth")
    state, network = read_legacy_torch_file(file), whole_state(name)
    shapes = [[tuple(value.shape) for value in some.values()] for some in (state, network)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{file.name} does not hold the tensors of {name}")
    left_out = ("classifier.", "num_batches_tracked")
    named = dict(zip(network, state.values(), strict=True))
    _write({key: value for key, value in named.items() if not any(part in key for part in left_out)}, path)


def read_legacy_torch_file(path: Path) -> Any:
    """Return the tensors and plain values in a file of `torch.save` before version 1.6: pickles, and then the tensors.

    Each pickle passes `check_pickle` first. The memory that tensors claim is not bounded by the length of the file: for
    files whose checksum is known. Raises ValueError for any other file.
    """
    with path.open("rb") as file:
        try:
            for _ in range(_PICKLES):
                start = file.tell()
                for _ in pickletools.genops(file):
                    pass
                length = file.tell() - start
                file.seek(start)
                check_pickle(file.read(length))
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
            check_values(content)
        except Exception as error:
            reason = str(error) if type(error) is ValueError else type(error).__name__
            raise ValueError(
                f"{path.name} does not load as tensors and plain values ({reason}); nothing in it was run"
            ) from error
    return content


def movenet(folder: Path, path: Path) -> None:
    """Write the backbone in the one TensorFlow.js model of a folder, under the names of `softpoint.models.MoveNet`."""
    (manifest,) = folder.rglob("*.json")
    renamed = {_movenet_name(name): value for name, value in read_tfjs(manifest).items()}
    _write({name: value for name, value in renamed.items() if name}, path)


def read_tfjs(manifest: Path) -> dict[str, Tensor]:
    """Return the tensors of a TensorFlow.js model, those of convolutions in torch's layout.

    A JSON file lists their names, shapes and types, and a file beside it holds their bytes, little-endian and one
    after the other; those of "quantization" float16 are stored in two bytes a number.
    Raises ValueError where the two files differ in length, and for other types.
    """
    found: dict[str, Tensor] = {}
    (group,) = json.loads(manifest.read_bytes())["weightsManifest"]
    content = b"".join((manifest.parent / Path(name).name).read_bytes() for name in group["paths"])
    start = 0
    for entry in group["weights"]:
        kind = entry.get("quantization", {}).get("dtype", entry["dtype"])
        if kind not in ("float16", "float32", "int32"):
            raise ValueError(f"{manifest.name}: {entry['name'][:80]} is of type {kind}")
        stored = np.dtype(kind).newbyteorder("<")
        end = start + math.prod(entry["shape"]) * stored.itemsize
        values = np.frombuffer(content[start:end], stored).reshape(entry["shape"]).astype(entry["dtype"])
        found[entry["name"]] = _in_torch_layout(entry["name"], torch.from_numpy(values))
        start = end
    if start != len(content):
        raise ValueError(f"{manifest.name} lists {start} bytes of weights, but there are {len(content)}")
    return found


def _in_torch_layout(name: str, value: Tensor) -> Tensor:
    """A kernel (h, w, in, out) as (out, in, h, w); one of a depthwise convolution (h, w, in, 1) as (in, 1, h, w)."""
    if value.ndim != 4:
        return value
    return value.permute(2, 3, 0, 1) if "depthwise" in name else value.permute(3, 2, 0, 1)


def _movenet_name(name: str) -> str | None:
    """Return our name of a tensor of MoveNet's backbone; None for one of another part.

    >>> _movenet_name("call/model_1/model/block_3_depthwise/depthwise_bn_offset")
    'blocks.2.depth.bias'
    >>> _movenet_name("call/model_1/model/Conv1/Conv2D_weights"), _movenet_name("call/kpt_offset_0/BiasAdd")
    ('stem.weight', None)
    """
    layer = r"(?:(Conv1)|(expanded_conv)_|block_(\d+)_)(expand|depth|project)?\w*/\w+?"
    match = re.search(rf"/model/{layer}_(weights|bn_offset)$", name)
    if match is None:
        return None
    stem, _, block, part, kind = match.groups()
    place = ["stem"] if stem else [*(["blocks", str(int(block) - 1)] if block else []), part]
    return ".".join([*place, "weight" if kind == "weights" else "bias"])


def _write(state: Mapping[str, Tensor], path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(save({name: value.contiguous() for name, value in state.items()}))
