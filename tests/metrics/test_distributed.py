"""Two processes, each with its share of the samples, report what one process with all of them does.

The test is the first process, and a fork of it the second.
"""

from __future__ import annotations

import json
import math
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from softpoint.metrics import PointArrays
from softpoint.metrics.epoch_visibility import VisibilityScores
from softpoint.metrics.point_means import PointMeans


def report(samples: slice) -> dict[str, Any]:
    """Every mean after these samples, and this process's own number of labeled points."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 100, (21, 3, 2))
    keypoints = truth + rng.normal(0, 5, truth.shape)
    truth[rng.random((21, 3)) < 0.3] = math.nan
    truth[:, -1] = math.nan
    arrays = keypoints, truth, np.ones((21, 3)), np.ones((21, 3, 2, 2)), np.linspace(20, 80, 21), np.full((21, 2), 90)
    metric = PointMeans(3)
    metric.update(PointArrays(*(values[samples] for values in arrays)))
    means = {name: value.item() for name, value in metric.compute().items()}
    return {"means": means, "labeled": metric.count.tolist(), "visibility": visibility(samples)}


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


def take_part(rank: int, folder: Path) -> None:
    """Join the other process, measure this one's share and write the report."""
    torch.set_num_threads(1)  # a fork has none of the others
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, rank=rank, world_size=2, timeout=timedelta(seconds=100))
    try:
        # Uneven shares: averaging the processes' means would be wrong.
        share = slice(0, 16) if rank == 0 else slice(16, 21)
        (folder / f"{rank}.json").write_text(json.dumps(report(share)))
    finally:
        dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_processes_equal_one(tmp_path: Path) -> None:
    other = get_context("fork").Process(target=take_part, args=(1, tmp_path))
    other.start()
    take_part(0, tmp_path)
    other.join(60)
    assert other.exitcode == 0
    expected = report(slice(None))
    reports = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for result in reports:
        assert result["means"] == pytest.approx(expected["means"], rel=1e-12)
    assert np.sum([result["labeled"] for result in reports], axis=0).tolist() == expected["labeled"]
    assert all(result["visibility"] == expected["visibility"] for result in reports)
    assert all(len(scores) == 5 for scores in expected["visibility"])
