"""Metrics of a run are in pixels of the original images, and only of labeled points."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.training import built, composed, labeled, tiny, write_labels
from softpoint.functional import transform_points

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")


def test_test_error_is_in_original_pixels(tmp_path: Path) -> None:
    words = labeled(write_labels(tmp_path / "data", missing=[(0, 1), (4, 2)]), "data.batch_size=2")
    module, data, trainer = built(composed("train", words, tmp_path / "run"))
    result = trainer.test(module, data, verbose=False)[0]
    errors, scales = [], []
    with torch.inference_mode():
        for batch in data.test_dataloader():
            labeled_points = batch["visibility"] > 0
            guess = transform_points(module.eval()(batch["image"])["keypoints"], batch["matrix"])
            for i, row in enumerate(batch["index"].tolist()):
                truth = torch.from_numpy(data.labels.keypoints[data.splits["test"][row]])
                errors.append((guess[i] - truth).norm(dim=-1)[labeled_points[i]])
                scales.append(batch["scale"][i].expand(len(errors[-1])))
    error, scale = torch.cat(errors), torch.cat(scales)
    assert result["test/epe"] == pytest.approx(error.mean().item(), rel=1e-5)
    assert result["test/nme"] == pytest.approx((error / scale).mean().item(), rel=1e-5)
    assert result["test/pck@0.1"] == pytest.approx((error <= 0.1 * scale).double().mean().item(), rel=1e-5)


def test_padding_is_not_measured(tmp_path: Path) -> None:
    module, data, trainer = built(composed("train", tiny(), tmp_path))
    whole = trainer.test(module, data, verbose=False)[0]
    loader = data.test_dataloader()
    padded = [*loader.sampler, *(draw._replace(padding=True) for draw in loader.sampler)]
    loader = torch.utils.data.DataLoader(loader.dataset, 4, sampler=padded, collate_fn=loader.collate_fn)
    result = trainer.test(module, loader, verbose=False)[0]
    assert result == pytest.approx(whole, rel=1e-5)


def test_compiled_network_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """module.compile=true asks torch.compile for the network, and for nothing else."""
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, *_, **__: asked.append(type(self).__name__))
    built(composed("train", tiny("module.compile=true"), tmp_path))
    assert asked == ["KeypointNet"]
