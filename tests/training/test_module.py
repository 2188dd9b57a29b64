"""Metrics of a run are in pixels of the original images, and only of labeled points."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.training import built, composed, labeled, tiny, write_labels
from softpoint.functional import transform_points
from softpoint.inference.build_model import build_model

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
                truth = torch.tensor(data.labels.keypoints[data.splits["test"][row]])
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


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_the_loss_of_an_epoch_does_not_depend_on_its_batches(tmp_path: Path) -> None:
    """A position term counts other points than the term of visibility, and their numbers differ between images."""
    absent = [(i, k) for i in range(4) for k in range(3)]
    words = labeled(write_labels(tmp_path / "data", missing=absent), "data.unlabeled=absent")
    words.append("loss=[heatmap_ce,visibility]")
    losses = []
    for size in (1, 3):
        module, data, trainer = built(composed("train", [*words, f"data.batch_size={size}"], tmp_path / str(size)))
        assert "visibility" in module.net.head.provides
        # What the checkpoint states builds the network that the data decided.
        build_model(module.hparams["model"], len(module.skeleton)).load_state_dict(module.net.state_dict())
        losses.append(trainer.validate(module, data, verbose=False)[0]["val/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_summary_names_backbone_and_weights(tmp_path: Path) -> None:
    module = built(composed("train", tiny(), tmp_path))[0]
    assert module.summary.startswith("Small network of") and module.summary.endswith(", from random weights")
    module.net.backbone.name, module.net.backbone.started_from = "resnet18", {"weights": "timm resnet18.a1_in1k"}
    assert module.summary.startswith("resnet18 network of")
    assert module.summary.endswith(", started from timm resnet18.a1_in1k")
