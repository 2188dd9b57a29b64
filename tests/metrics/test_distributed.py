"""Two processes, each with its share of the samples, report what one process with all of them does.

The test is the first process; the second runs this file as a program, `test_distributed.py FOLDER`.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from softpoint.metrics import EPE, NME, PCK, VisibilityScores


def report(samples: slice) -> dict[str, Any]:
    """Every number of every metric after these samples, NaN as -1."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(21, 3, 2, generator=generator) * 100
    prediction = target + torch.randn(21, 3, 2, generator=generator) * 5
    mask = torch.rand(21, 3, generator=generator) > 0.3
    mask[:, -1] = False
    batch = [x[samples] for x in (prediction, target.where(mask[..., None], math.nan), mask)]
    scale = torch.linspace(20, 80, 21)[samples]
    metrics: dict[str, Any] = {"epe": EPE(3), "pck": PCK(3), "nme": NME(3)}
    for name, metric in metrics.items():
        metric.update(*batch, *([] if name == "epe" else [scale]))
    numbers = {
        name: {
            "all": metric.compute().item(),
            "each": metric.per_keypoint().nan_to_num(-1).tolist(),
            "count": metric.count().tolist(),
            "local": metric.labeled.tolist(),
        }
        for name, metric in metrics.items()
    }
    return numbers | {"one bad scale": bad_scale(batch, scale), "visibility": visibility(samples)}


def visibility(samples: slice) -> list[dict[str, float]]:
    """Scores of these samples, and of those of the first process alone."""
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(-1, 3, (21, 3), generator=generator)
    logits = torch.nn.functional.one_hot(target.clamp_min(0), 3) + torch.randn(21, 3, 3, generator=generator)
    metrics: list[Any] = [VisibilityScores(3), VisibilityScores(3)]
    metrics[0].update(logits[samples], target[samples])
    if not samples.start:
        metrics[1].update(logits[:16], target[:16])
    return [{name: score.item() for name, score in metric.compute().items()} for metric in metrics]


def bad_scale(batch: list[torch.Tensor], scale: torch.Tensor) -> str:
    """What a process says when the first process alone met a scale of 0."""
    metric: Any = NME(3)
    metric.update(*batch, scale * 0 if not dist.is_initialized() or dist.get_rank() == 0 else scale)
    try:
        metric.compute()
    except ValueError as error:
        return str(error)
    return "nothing"


def take_part(rank: int, folder: Path) -> None:
    """Join the other process, measure this one's share and write the report."""
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, rank=rank, world_size=2, timeout=timedelta(seconds=100))
    try:
        # Uneven shares: averaging the processes' means would be wrong.
        share = slice(0, 16) if rank == 0 else slice(16, 21)
        (folder / f"{rank}.json").write_text(json.dumps(report(share)))
    finally:
        dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-W", "error::UserWarning", __file__, tmp_path])
    take_part(0, tmp_path)
    assert other.wait(timeout=60) == 0
    expected = report(slice(None))
    reports = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for name in ("epe", "pck", "nme"):
        for found in reports:
            assert found[name]["all"] == pytest.approx(expected[name]["all"], rel=1e-12)
            assert found[name]["each"] == pytest.approx(expected[name]["each"], rel=1e-12)
            assert found[name]["count"] == expected[name]["count"]
        shares = torch.tensor([found[name]["local"] for found in reports])
        assert shares.sum(dim=0).tolist() == expected[name]["count"]
    assert all(found["visibility"] == expected["visibility"] for found in reports)
    assert all(len(scores) == 5 for scores in expected["visibility"])
    assert all("got 0.0 on" in found["one bad scale"] for found in reports)


if __name__ == "__main__":
    take_part(1, Path(sys.argv[1]))
