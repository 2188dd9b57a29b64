"""Learning rates over a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from softpoint.training.schedules import check_followed, constant, plateau, warmup_cosine


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)


def of(steps: int) -> Callable[[int], float]:
    return lambda step: min(step / steps, 1.0)


def rates(make: dict, own: torch.optim.Optimizer, steps: int) -> list[float]:
    result = []
    for _ in range(steps):
        result.append(own.param_groups[0]["lr"])
        own.step()
        make["scheduler"].step()
    return result


def test_warmup_rises_and_cosine_falls_to_the_final_rate() -> None:
    own = optimizer()
    result = rates(warmup_cosine(own, of(100), warmup=0.1, final=0.01), own, 101)
    assert result[:10] == sorted(result[:10]) and result[0] > 0
    assert max(result) == result[10] == pytest.approx(0.5)
    assert result[10:] == sorted(result[10:], reverse=True)
    assert result[55] == pytest.approx(0.5 * (0.01 + 0.99 / 2)) and result[100] == pytest.approx(0.005)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_a_rate(steps: int) -> None:
    own = optimizer()
    result = rates(warmup_cosine(own, of(steps), warmup=0.05, final=0.0), own, steps)
    assert all(0 < rate <= 0.5 for rate in result)


@pytest.mark.parametrize("warmup", [-0.1, 1.0, 2])
def test_warmup_is_a_fraction(warmup: float) -> None:
    with pytest.raises(ValueError, match=rf"in \[0, 1\), got {warmup}"):
        warmup_cosine(optimizer(), of(10), warmup=warmup, final=0.0)


def test_constant_and_plateau() -> None:
    own = optimizer()
    assert set(rates(constant(own, of(10)), own, 10)) == {0.5}
    described = plateau(own, of(10), factor=0.5, patience=1)
    for error in (3.0, 2.0, 2.0, 2.0):
        described["scheduler"].step(error)
    assert own.param_groups[0]["lr"] == 0.25
    assert described["monitor"] == "val/epe" and described["interval"] == "epoch"


def test_a_schedule_that_follows_validation_is_refused_without_any() -> None:
    following, own = plateau(optimizer(), of(1), factor=0.5, patience=1), constant(optimizer(), of(1))
    check_followed(following, True)
    check_followed(own, False)
    with pytest.raises(ValueError, match=r"follows val/epe, which a run without validation .*scheduler=warmup_cosine"):
        check_followed(following, False)
