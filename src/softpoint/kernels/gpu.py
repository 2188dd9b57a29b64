"""Whether the kernels of this package for GPUs can read a tensor."""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from softpoint.kernels.library import WANTED, are_plain
from softpoint.kernels.maps import SAVED

_log = logging.getLogger(__name__)


@cache
def gpu_maps(device: torch.device) -> ModuleType | None:
    """Return the kernels that read maps on a GPU, or None where `SOFTPOINT_KERNELS=off` or they cannot run there.

    The first call for a device compiles one and runs it; triton, which does so, comes with torch for GPUs on Linux.
    """
    if not WANTED:
        return None
    try:
        from softpoint.kernels import triton_maps
    except ImportError as error:
        _log.info('PyTorch alone reads maps on %s (%s): pip install "softpoint[triton]"', device, error)
        return None
    try:
        given, saved = torch.zeros(1, 1, 1, device=device), torch.ones(1, SAVED, device=device)
        triton_maps.read_maps_backward((given, *4 * (None,)), saved, 5 * [None], (torch.empty_like(given), None))
        torch.cuda.synchronize(device)
    except Exception as error:  # of a compiler, a driver or a device, and of many types
        _log.warning(
            "softpoint's kernels do not run on %s (%s: %s); PyTorch alone computes the same, several times slower",
            device,
            type(error).__name__,
            error,
        )
        return None
    return triton_maps


def runs_on_gpu(*tensors: Tensor) -> bool:
    """Whether the kernels may read such tensors: plain ones in single precision on one GPU, and no graph is made."""
    device = tensors[0].device
    return (
        device.type == "cuda"
        and all(tensor.device == device for tensor in tensors)
        and are_plain(tensors, "cuda")
        and gpu_maps(device) is not None
    )
