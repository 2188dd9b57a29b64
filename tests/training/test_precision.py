"""Mixed precision, end to end: what it computes in which type, and steps that are scaled, clipped and fused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision

from helpers.training import built, composed, tiny

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:.*is not empty")

CLIP = 1e-3


def watch(module: Any) -> dict[str, set[torch.dtype]]:
    """The types of what comes out of the backbone, the head and the loss, and of the logits that the loss reads."""
    seen: dict[str, set[torch.dtype]] = {"backbone": set(), "head": set(), "loss": set()}

    def note(name: str, tensors: Any) -> None:
        seen[name] |= {tensor.dtype for tensor in tensors if tensor.is_floating_point()}

    module.net.backbone.register_forward_hook(lambda _, __, features: note("backbone", features))
    module.net.head.register_forward_hook(lambda _, __, prediction: note("head", prediction.values()))
    module.loss.register_forward_hook(lambda _, __, values: note("loss", values.values()))
    return seen


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_scaled_gradients_are_clipped_before_a_fused_step(tmp_path: Path, half: torch.dtype) -> None:
    """With the scaler of a CPU in the place of a GPU's."""
    plain = ["optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false", "optimizer.weight_decay=0"]
    words = tiny(*plain, "optimizer.lr=1", "scheduler=constant", "~callbacks.ema", f"trainer.gradient_clip_val={CLIP}",
                 "trainer.max_steps=1", "trainer.precision=bf16-mixed")  # fmt: skip
    module, data, trainer = built(composed("train", words, tmp_path))
    scaled = half is torch.float16
    if scaled:
        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))
        trainer.strategy.precision_plugin = plugin
    seen = watch(module)
    start = [p.detach().clone() for p in module.net.parameters()]
    trainer.fit(module, data)
    moved = torch.cat([(p.detach() - s).flatten() for p, s in zip(module.net.parameters(), start, strict=True)])
    assert trainer.optimizers[0].defaults["fused"]
    assert moved.norm().item() == pytest.approx(CLIP, rel=0.01)
    measured = [value for name, value in trainer.callback_metrics.items() if name.startswith("val/")]
    assert len(measured) > 5 and all(value.isfinite() for value in measured)
    state = torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    numbers = {key: value for key, value in state.items() if value.is_floating_point()}
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in numbers.values())
    assert state["net.calibration.radius"] > 0  # is fitted
    assert half in seen["backbone"] and seen["head"] == seen["loss"] == {torch.float32}


def test_float16_on_a_cpu_is_bfloat16_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match="AMP with fp16 is not supported on CPU. Using `precision='bf16-mixed'` instead"
    ):
        trainer = built(composed("train", tiny("trainer.precision=16-mixed"), tmp_path))[2]
    assert trainer.precision == "bf16-mixed"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_a_gpu_trains_in_mixed_precision(tmp_path: Path, precision: str) -> None:
    module, data, trainer = built(
        composed("train", tiny(f"trainer.precision={precision}", "trainer.accelerator=gpu"), tmp_path)
    )
    trainer.fit(module, data)
    assert trainer.callback_metrics["val/loss"].isfinite()
    assert all(p.isfinite().all() and p.dtype == torch.float32 for p in module.net.parameters())
