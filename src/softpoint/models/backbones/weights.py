"""Initial weights from a local safetensors file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, a format that holds nothing else.

    Raises FileNotFoundError, and ValueError for a file of another kind, a damaged one, and one with NaN.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"backbone.weights: no file at {path}")
    if path.suffix == ".ckpt":
        raise ValueError(
            f"backbone.weights: {path} is a checkpoint; init={path} starts a training from one of softpoint"
        )
    if path.suffix != ".safetensors":
        raise ValueError(
            f"backbone.weights: {path} is no .safetensors file, and other formats can hold code; convert one that you"
            " trust by safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'FILE.safetensors')"
        )
    try:
        state = load_file(path)
    except Exception as error:
        raise ValueError(
            f"backbone.weights: {path} cannot be read as weights ({type(error).__name__}); it is no safetensors file,"
            " or is damaged"
        ) from error
    for key, value in state.items():
        if value.is_floating_point() and not value.float().isfinite().all():
            raise ValueError(f"backbone.weights: {path}: {key[:80]} holds NaN or infinity; it is damaged")
    return state


def load_weights(module: nn.Module, path: str | Path, spare: Iterable[str] = (), prefix: str = "") -> None:
    """Fill `module` from a file whose keys and shapes must all match.

    `spare` names further keys that the file may have, such as those of a classifier. `prefix` is removed from the
    file's keys. Separators do not matter (`stages.0` equals `stages_0`), because libraries rename them when they cut a
    network. Raises ValueError that lists missing, unexpected and reshaped keys.
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
    differences = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    if any(differences.values()):
        listed = [
            f"{len(keys)} {kind}: {', '.join(keys[:8])}" + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
            for kind, keys in differences.items()
            if keys
        ]
        whole = any(name.startswith("head_") for name in state) and Path(path).with_name("config.json").is_file()
        advice = f"; it is a whole model of softpoint, which init={Path(path).parent} starts from" if whole else ""
        raise ValueError(f"backbone.weights: {path} does not fit {type(module).__name__}: {'; '.join(listed)}{advice}")
    module.load_state_dict({key: state[name] for name, (key, _) in own.items() if name in state}, strict=False)


def _canonical(key: str) -> str:
    return key.replace(".", "_")
