"""The kernels for a GPU give what the definitions in float64 give: read by Triton's interpreter, and compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers.map_readings import everything, inputs, weighted
from softpoint.kernels import gpu

pytest.importorskip("triton", reason="triton comes with torch for GPUs on Linux")
HELPERS = Path(__file__).parents[1] / "helpers"


def test_the_kernels_give_what_the_definitions_give():
    path = os.pathsep.join([*sys.path, str(HELPERS.parent)])
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": path}
    command = [sys.executable, str(HELPERS / "interpreted_maps.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "as defined\n"), done.stderr


OF_TARGETS = ("cross_entropy_of", "divergence_of", "jensen_shannon_of", "of_cross_entropy", "of_jensen_shannon")
TARGETS = [("along_y", "along_x"), ("dense",), ()]


@pytest.mark.parametrize("target", TARGETS, ids=["axes", "maps", "none"])
@pytest.mark.parametrize("kernel", ["_forward", "_backward"])
def test_the_kernels_compile_for_a_gpu_that_is_not_here(kernel: str, target: tuple[str, ...], tmp_path: Path):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from softpoint.kernels import triton_maps

    function = getattr(triton_maps, kernel)
    missing = {"along_y", "along_x", "dense"} - {*target} | (set() if target else {*OF_TARGETS})
    fixed = {"BLOCK": 1024, "AXIS": 128} | dict.fromkeys(missing)
    kinds = dict.fromkeys(function.arg_names, "*fp32") | dict.fromkeys(("height", "width"), "i32")
    signature = {name: "constexpr" if name in fixed else kinds[name] for name in function.arg_names}
    given = {(i,): fixed[name] for i, name in enumerate(function.arg_names) if name in fixed}
    source = ASTSource(fn=function, signature=signature, constexprs=given)
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
    assert ".local" not in built.asm["ptx"]
    (tmp_path / "kernel.cubin").write_bytes(built.asm["cubin"])
    tool = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(tmp_path / "kernel.cubin")]
    used = subprocess.run(tool, capture_output=True, text=True, check=True).stdout
    assert "STACK:0 " in used and " LOCAL:0 " in used, used  # no register is spilled


def test_a_device_on_which_no_kernel_runs_is_said_once_and_left_to_pytorch(caplog: pytest.LogCaptureFixture):
    gpu.gpu_maps.cache_clear()
    try:
        assert gpu.gpu_maps(torch.device("cpu")) is None and gpu.gpu_maps(torch.device("cpu")) is None
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "PyTorch alone computes the same" in caplog.text
    finally:
        gpu.gpu_maps.cache_clear()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_gives_what_its_definitions_give():
    logits, target, temperature = inputs((64, 48), 8.0)
    on_gpu = [value.cuda().requires_grad_() for value in (logits, temperature)]
    exact = [value.double().requires_grad_() for value in (logits, temperature)]
    assert gpu.runs_on_gpu(on_gpu[0])
    read = everything(on_gpu[0], tuple(q.cuda() for q in target), on_gpu[1])
    true = everything(exact[0], tuple(q.double() for q in target), exact[1])
    for value, definition in zip(read[:-1], true[:-1], strict=True):
        torch.testing.assert_close(value.cpu().double(), definition, rtol=2e-6, atol=2e-6)
    slopes = [x.cpu().double() for x in torch.autograd.grad(weighted(read), on_gpu)]
    for slope, definition in zip(slopes, torch.autograd.grad(weighted(true), exact), strict=True):
        assert (slope - definition).abs().max() <= 5e-6 * definition.abs().max()
