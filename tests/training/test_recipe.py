"""Rates and durations of training: parameter groups, a frozen start, minutes instead of epochs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.training import built, composed, tiny
from softpoint.training.callbacks import Duration, Freeze
from softpoint.training.param_groups import parameter_groups

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")


def test_every_parameter_learns_once_and_only_matrices_decay(tmp_path: Path) -> None:
    module, data, trainer = built(composed("train", tiny("module.backbone_rate=0.25"), tmp_path))
    trainer.fit(module, data)
    groups = trainer.optimizers[0].param_groups
    result = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(result) == sorted(id(parameter) for parameter in module.net.parameters())
    backbone = {id(parameter) for parameter in module.net.backbone.parameters()}
    for group in groups:
        slow, vectors = group["name"].startswith("backbone"), group["name"].endswith("not decayed")
        assert group["initial_lr"] == pytest.approx(0.003 * (0.25 if slow else 1))
        assert all((id(parameter) in backbone) == slow for parameter in group["params"])
        assert all((parameter.ndim < 2) == vectors for parameter in group["params"])
        assert (group["weight_decay"] == 0) == vectors


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items() if value.is_floating_point()}


def test_a_frozen_backbone_moves_only_after_its_thaw(tmp_path: Path) -> None:
    words = tiny("data.train=16", "callbacks.freeze.fraction=0.5", "~callbacks.ema")
    module, data, trainer = built(composed("train", words, tmp_path))
    seen = []

    class Watch(Freeze):
        def on_train_batch_end(self, trainer, pl_module, *_):
            seen.append((weights(pl_module.net.backbone), weights(pl_module.net.decoder)))

    trainer.callbacks.append(Watch(0.0))
    start = weights(module.net.backbone), weights(module.net.decoder)
    trainer.fit(module, data)
    assert len(seen) == 4
    for step in (0, 1):
        torch.testing.assert_close(seen[step][0], start[0], rtol=0, atol=0)
        assert any(not torch.equal(seen[step][1][name], value) for name, value in start[1].items())
    assert all(not torch.equal(seen[3][0][name], value) for name, value in start[0].items())
    assert all(parameter.requires_grad for parameter in module.net.parameters())


def test_minutes_end_a_run_and_its_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Duration, "time_elapsed", lambda self, stage="train": 6.0 * self.steps)
    monkeypatch.setattr(Duration, "steps", 0, raising=False)
    module, data, trainer = built(composed("train", tiny("minutes=1", "scheduler.warmup=0.2"), tmp_path))
    rates = []

    class Clock(Freeze):
        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])
            Duration.steps += 1

    trainer.callbacks.insert(0, Clock(0.0))
    trainer.fit(module, data)
    # Ten steps of six seconds, two an epoch: five epochs although trainer.max_epochs=1.
    assert trainer.global_step == 10 and trainer.current_epoch == 5
    assert max(rates) == pytest.approx(0.003, rel=0.1) and rates[-1] < 0.2 * max(rates)
    assert module.progress(0) == 1.0 and (tmp_path / "checkpoints/last.ckpt").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["minutes=0"], r"minutes must be a positive number, got 0"),
        (["callbacks.freeze.fraction=1"], r"callbacks.freeze.fraction must be in \[0, 1\), got 1"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=message):
        built(composed("train", tiny(*words), tmp_path))


def test_a_backbone_rate_is_positive(tmp_path: Path) -> None:
    module, data, trainer = built(composed("train", tiny("module.backbone_rate=0"), tmp_path))
    with pytest.raises(ValueError, match=r"module.backbone_rate must be positive, got 0"):
        trainer.fit(module, data)


def test_biases_of_more_dimensions_do_not_decay_either(tmp_path: Path) -> None:
    words = tiny("head=simcc", "head.visibility=true")
    net = built(composed("train", words, tmp_path))[0].net
    spared = {id(p) for group in parameter_groups(net) if "weight_decay" in group for p in group["params"]}
    assert {id(net.head.visibility.bias), id(net.head.refine_x), id(net.head.refine_y)} <= spared
    assert id(net.head.visibility.weight) not in spared
