"""A comparison counts what both models predicted, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.results import example_results, unlabeled
from softpoint.evaluation import compare, evaluate
from softpoint.evaluation.comparison import matched


def test_a_model_is_not_better_than_itself():
    comparison = compare(example_results(), example_results(), draws=50)
    for entry in comparison["overall"].values():
        assert (entry["difference"], entry["low"], entry["high"], entry["p_a_better"]) == (0, 0, 0, 0.5)


def test_differences_are_those_of_the_numbers():
    a, b = example_results(24), example_results(24)
    b = replace(b, keypoints=b.truth + 2 * (b.keypoints - b.truth))
    b = replace(b, keypoints=np.nan_to_num(b.keypoints))
    comparison = compare(a, b, draws=300)["overall"]
    alone = [evaluate(results, draws=0)["overall"] for results in (a, b)]
    for name, entry in comparison.items():
        assert [entry["a"], entry["b"]] == [values[name]["value"] for values in alone]
        assert entry["difference"] == entry["a"] - entry["b"]
        assert entry["low"] <= entry["difference"] <= entry["high"]
    assert comparison["epe"]["p_a_better"] == 1 and comparison["pck@5px"]["p_a_better"] > 0.95
    turned = compare(b, a, draws=300)["overall"]["epe"]
    assert turned["difference"] == -comparison["epe"]["difference"] and turned["p_a_better"] == 0


def test_parts_are_compared_as_they_alone_would_be():
    a, b = example_results(60), example_results(60)
    b = replace(b, keypoints=np.nan_to_num(b.truth + 1.1 * (b.keypoints - b.truth)))
    comparison = compare(a, b, draws=100)
    keys = ("a", "b", "difference", "low", "high", "p_a_better")
    for name, entry in comparison["keypoints"].items():
        alone = compare(a.with_keypoints([name]), b.with_keypoints([name]), draws=100)
        assert [entry["epe"][key] for key in keys] == pytest.approx([alone["overall"]["epe"][key] for key in keys])
        assert entry["points"] == alone["points"]
    assert {*comparison["groups"]} == {*a.groups} and len(comparison["groups"]) == 6
    for group, entry in comparison["groups"].items():
        rows = [i for i, own in enumerate(a.groups) if own == group]
        alone = compare(a.select(rows), b.select(rows), draws=100)
        assert entry == {"points": alone["points"], "epe": alone["overall"]["epe"]} and alone["groups"] == {}


def test_a_part_without_a_label_has_no_errors():
    mask = np.zeros((12, 4), bool)
    mask[:, 1] = True
    bare = replace(example_results(), **unlabeled(example_results(), mask))
    comparison = compare(bare, bare, draws=20)
    assert comparison["keypoints"]["left_ear"] == {"points": 0} and "epe" in comparison["keypoints"]["nose"]


def test_coverage_is_better_the_nearer_it_is_to_its_level():
    a = example_results(40, seed=1)
    a = replace(a, covariance=np.tile(np.eye(2) * np.nanmean(a.errors**2) / 2, (*a.errors.shape, 1, 1)))
    wide, narrow = (replace(a, covariance=factor * a.covariance) for factor in (100.0, 0.01))
    for other in (wide, narrow):
        comparison = compare(a, other, fraction=0.05, oks_sigmas=0.1, draws=60)
        entry = comparison["overall"]["coverage_90"]
        assert entry["p_a_better"] > 0.95 and entry["difference"] == entry["a"] - entry["b"]
        assert comparison["overall"]["oks_ap"]["difference"] == comparison["overall"]["ece"]["difference"] == 0
    skipped = compare(a, wide, draws=5)["skipped"]
    assert skipped["ece"] == "the confidences of the two models are about different errors" and "oks_ap" in skipped


def test_sigmas_follow_the_keypoints_of_the_first():
    a, sigmas = example_results(), [0.02, 0.2, 0.1, 0.05]
    kept = [a.skeleton.names[i] for i in (3, 1)]
    comparison = compare(a, a.with_keypoints(kept), oks_sigmas=sigmas, draws=5)
    assert dict(zip(comparison["keypoints"], comparison["oks_sigmas"], strict=True)) == {kept[0]: 0.05, kept[1]: 0.2}
    assert comparison["overall"]["oks_ap"]["difference"] == 0


def test_pairing_removes_the_difficulty_of_images():
    """B is A plus 1 px everywhere: the difference has no spread, although each mean has."""
    a = example_results(24)
    direction = (a.keypoints - a.truth) / a.errors[..., None]
    b = replace(a, keypoints=np.where(a.labeled[..., None], a.keypoints + direction, a.keypoints))
    comparison = compare(a, b, draws=200)["overall"]["epe"]
    assert [comparison["low"], comparison["high"]] == pytest.approx([-1, -1], abs=1e-9)


def test_subjects_and_keypoints_are_matched_by_name():
    a, order = example_results(), [5, 1, 0, 9]
    b = example_results().select(order).with_keypoints(["tail", "nose"])
    left, right = matched([a, b])
    assert left.skeleton.names == right.skeleton.names == ("nose", "tail")
    assert left.images == right.images == [a.images[i] for i in (0, 1, 5, 9)]
    # Two subjects stand in the first image, in the other order there.
    assert np.array_equal(left.errors, right.errors, equal_nan=True)


def test_results_that_share_nothing_are_refused():
    a = example_results()
    with pytest.raises(ValueError, match="no keypoint of the same name"):
        compare(a.with_keypoints(["nose"]), a.with_keypoints(["tail"]))
    with pytest.raises(ValueError, match="no image in common"):
        compare(a, replace(a, images=[f"other/{image}" for image in a.images]))
    with pytest.raises(ValueError, match="the labels of 11 images differ"):
        compare(a, replace(a, truth=a.truth + 1))


def test_few_groups_give_neither_an_interval_nor_a_probability():
    few = example_results(20, groups=[f"video{i % 5}" for i in range(20)])
    comparison = compare(few, replace(few, keypoints=few.keypoints + 1), oks_sigmas=0.1, fraction=0.05, draws=50)
    assert all({*entry} == {"a", "b", "difference"} for entry in comparison["overall"].values())
    assert comparison["skipped"]["intervals"] == "only 5 independent groups; at least 6 are needed"


def test_a_single_image_gives_no_interval():
    one = example_results(2, groups=["video"] * 2)
    entry = compare(one, one)["overall"]["epe"]
    assert entry == {"a": entry["a"], "b": entry["a"], "difference": 0}
