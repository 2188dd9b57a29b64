"""OKS numbers are those of COCO's evaluator, and of resampled images evaluated again."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import numpy as np
import pytest

from helpers.results import example_results
from softpoint.evaluation import Results, evaluate
from softpoint.evaluation.bootstrap import draw_counts
from softpoint.evaluation.oks import COCO_SIGMAS, average_precision, find_sigmas, match
from softpoint.labels.skeleton import Skeleton

coco = pytest.importorskip("pycocotools.coco")
cocoeval = pytest.importorskip("pycocotools.cocoeval")

SIGMAS = np.array([0.05, 0.08, 0.1, 0.2])


def by_hand(results: Results, sigmas: np.ndarray) -> list[float]:
    """AP, AP50, AP75 and AR as COCO's evaluator accumulates and summarizes them itself."""
    images = sorted(set(results.images))
    annotations, detections = [], []
    for i in range(len(results)):
        points, seen = results.truth[i], results.visibility[i] > 0
        if not seen.any():
            continue
        left, top, right, bottom = results.boxes[i]
        if np.isnan(left):
            (left, top), (right, bottom) = points[seen].min(0), points[seen].max(0)
        area = (right - left) * (bottom - top)
        if results.areas is not None and np.isfinite(results.areas[i]):
            area = results.areas[i]
        shared = {"image_id": images.index(results.images[i]) + 1, "category_id": 1}
        flat = [x for p, v in zip(np.nan_to_num(points), results.visibility[i], strict=True) for x in (*p, v)]
        annotations.append({**shared, "id": i + 1, "keypoints": flat, "num_keypoints": int(seen.sum()),
                            "area": area, "iscrowd": 0, "bbox": [left, top, right - left, bottom - top]})  # fmt: skip
        flat = [x for p in results.keypoints[i] for x in (*p, 1)]
        detections.append({**shared, "keypoints": flat, "score": results.confidence[i].mean()})
    with redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {"images": [{"id": i + 1} for i in range(len(images))], "annotations": annotations,
                         "categories": [{"id": 1, "name": "x"}]}  # fmt: skip
        truth.createIndex()
        judge = cocoeval.COCOeval(truth, truth.loadRes(detections), "keypoints")
        judge.params.kpt_oks_sigmas = sigmas
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [judge.stats[i] for i in (0, 1, 2, 5)]


@pytest.mark.parametrize("areas", [None, np.linspace(2000, 9000, 30)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_oks_metrics_are_those_of_the_evaluator(seed: int, areas: np.ndarray | None):
    results = example_results(30, seed, spread=3.0, areas=areas)
    metrics = evaluate(results, oks_sigmas=SIGMAS.tolist(), draws=0)["overall"]
    values = [metrics[name]["value"] for name in ("oks_ap", "oks_ap50", "oks_ap75", "oks_ar")]
    assert values == pytest.approx(by_hand(results, SIGMAS), abs=1e-12)
    assert 0.05 < values[0] < 0.95


def test_a_resample_counts_as_if_its_images_were_there_more_than_once():
    results = example_results(20, 4, spread=3.0)
    _, unit = np.unique(results.images, return_inverse=True)
    counts = draw_counts(int(unit.max()) + 1, 5, 0)
    drawn = average_precision(match(results, SIGMAS, unit), counts)
    for i, row in enumerate(counts.astype(int)):
        copies = [results.select(np.flatnonzero(unit == u)) for u in range(len(row)) for _ in range(row[u])]
        again = Results.concat(copies)
        again.images[:] = [f"{n}" for n, part in enumerate(copies) for _ in range(len(part))]
        assert [drawn[name][i] for name in drawn] == pytest.approx(by_hand(again, SIGMAS), abs=1e-9)


def test_perfect_predictions_are_perfect():
    results = example_results(10, spread=0.0)
    metrics = evaluate(results, oks_sigmas=0.05, draws=10)["overall"]
    assert [metrics[f"oks_{name}"]["value"] for name in ("ap", "ap50", "ap75", "ar")] == pytest.approx([1] * 4)


def test_sigmas_are_given_or_oks_is_skipped():
    published = cocoeval.Params("keypoints").kpt_oks_sigmas.tolist()
    assert find_sigmas("coco", tuple(COCO_SIGMAS)).tolist() == pytest.approx(published)
    with pytest.raises(ValueError, match="COCO's 17 keypoints of people, not for nose, tail"):
        find_sigmas("coco", ("nose", "tail"))
    with pytest.raises(ValueError, match="oks_sigmas has 2 numbers, but there are 3"):
        find_sigmas([0.1, 0.2], ("a", "b", "c"))
    with pytest.raises(ValueError, match="must be positive"):
        find_sigmas([0.1, 0.0], ("a", "b"))
    with pytest.raises(ValueError, match="give coco, one number"):
        find_sigmas("human", ("a", "b"))
    assert "oks_ap" in evaluate(example_results(), draws=0)["skipped"]


def test_a_subject_without_area_is_left_out():
    results = example_results(6, boxes=None)
    visibility = np.zeros((6, 4), int)
    visibility[0, 0] = 2
    truth = np.where((visibility > 0)[..., None], np.full(2, 50.0), np.nan)
    one = example_results(6, boxes=None, visibility=visibility, truth=truth)
    assert "area" in evaluate(one, oks_sigmas=0.1, draws=5)["skipped"]["oks_ap"]
    both = Results.concat([results, one])
    alone = evaluate(results, oks_sigmas=0.1, draws=0)["overall"]["oks_ap"]
    assert evaluate(both, oks_sigmas=0.1, draws=0)["overall"]["oks_ap"] == alone


def test_coco_sigmas_belong_to_their_names():
    skeleton = Skeleton(tuple(reversed(COCO_SIGMAS)))
    assert find_sigmas("coco", skeleton.names).tolist() == [*reversed(COCO_SIGMAS.values())]
