"""Starting weights from a local file, matched key by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a torch file that holds nothing but tensors.

    Raises FileNotFoundError, and ValueError for a file of another kind, which is not unpickled.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"backbone.weights: no file at {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"backbone.weights: {path} cannot be read as weights ({type(error).__name__}); "
            "give a .safetensors file or a torch file of tensors alone"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"backbone.weights: {path} holds no dictionary of tensors, but a {type(state).__name__}")
    return dict(state)


def load_weights(module: nn.Module, path: str | Path, spare: Iterable[str] = (), prefix: str = "") -> None:
    """Fills `module` from a file whose keys and shapes must all match.

    `spare` names keys that the file may have beyond the module's: a classifier, or stages left out.
    `prefix` is what the file's keys have before the module's. Separators do not matter (`stages.0` equals
    `stages_0`), because libraries rename them when they cut a network.
    Raises ValueError that lists what is missing, unexpected or of another shape.
    """
    state = {_canonical(key.removeprefix(prefix)): value for key, value in read_weights(path).items()}
    own = {_canonical(key): (key, value) for key, value in module.state_dict().items()}
    missing = [key for name, (key, _) in own.items() if name not in state and not key.endswith("num_batches_tracked")]
    allowed = own.keys() | {_canonical(key.removeprefix(prefix)) for key in spare}
    unexpected = [name for name in state if name not in allowed]
    reshaped = [
        f"{key} {tuple(state[name].shape)} for {tuple(value.shape)}"
        for name, (key, value) in own.items()
        if name in state and state[name].shape != value.shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    if any(problems.values()):
        listed = "; ".join(f"{len(keys)} {kind}: {_some(keys)}" for kind, keys in problems.items() if keys)
        raise ValueError(f"backbone.weights: {path} does not fit {type(module).__name__}: {listed}")
    module.load_state_dict({key: state[name] for name, (key, _) in own.items() if name in state}, strict=False)


def _canonical(key: str) -> str:
    return key.replace(".", "_")


def _some(keys: list[str], most: int = 8) -> str:
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")
