"""Images are chosen by the expected error that their labels take away, near duplicates never; a pool holds the best."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from helpers.selection import candidate
from softpoint.images.duplicates import NEAR
from softpoint.selection.candidates import Pool
from softpoint.selection.diversity import choose


def numbers(choices: list) -> list[int]:
    return [choice.candidate.number for choice in choices]


def left_after(scores: np.ndarray, looks: np.ndarray, chosen: list[int]) -> float:
    """The expected error that is left: by the nearest chosen image, in units of the median distance."""
    looks = (looks - looks.mean(0)) / looks.std(0)
    distances = squareform(pdist(looks)) / np.median(pdist(looks))
    return float((scores * np.minimum(distances[:, chosen], 1).min(1)).sum())


def test_each_choice_takes_away_most_of_the_expected_error_that_is_left() -> None:
    rng = np.random.default_rng(0)
    looks, scores = rng.normal(size=(40, 3)), rng.uniform(0.1, 1, 40)
    chosen = numbers(choose([candidate(i, float(scores[i]), looks[i]) for i in range(40)], 8))
    for n, one in enumerate(chosen):
        left = [left_after(scores, looks, [*chosen[:n], other]) for other in range(40)]
        assert left[one] == pytest.approx(min(left))


def test_of_two_kinds_of_images_the_one_with_larger_errors_comes_first_and_then_the_other() -> None:
    looks = [(0, 0, 0), (0.1, 0, 0), (0.2, 0, 0), (5, 0, 0), (5.1, 0, 0), (5.2, 0, 0)]
    scores = (0.5, 0.5, 0.5, 0.8, 0.7, 0.8)
    candidates = [candidate(i, score, look) for i, (score, look) in enumerate(zip(scores, looks, strict=True))]
    assert numbers(choose(candidates, 2)) == [4, 1]  # the middle of each
    assert sorted(numbers(choose(candidates, 9))) == [*range(6)]


def test_an_odd_image_is_not_chosen_for_being_odd_even_if_the_model_is_lost_there() -> None:
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(60, 3))
    looks[7] = 6.0
    scores = np.where(np.arange(60) == 7, 2.0, 1.0)
    chosen = choose([candidate(i, float(scores[i]), looks[i]) for i in range(60)], 5)
    assert 7 not in numbers(chosen)
    assert chosen[0].distance == 1.0 and all(0 < choice.distance <= 1 for choice in chosen)


def test_near_duplicates_of_chosen_and_labeled_images_are_left_out() -> None:
    mark = candidate(0).print
    near, far = mark ^ ((1 << NEAR) - 1), mark ^ ((1 << (NEAR + 1)) - 1)
    one, twin, other = (
        candidate(0, 1.0),
        candidate(1, 0.9, (1, 0, 0), print=near),
        candidate(2, 0.8, (0, 1, 0), print=far),
    )
    assert numbers(choose([one, twin, other], 3)) == [0, 2]
    assert numbers(choose([one, twin, other], 3, labeled=[candidate(9, print=mark)])) == [2]


def test_labeled_looks_are_covered() -> None:
    looks = [(0, 0, 0), (4, 0, 0), (0, 4, 0)]
    candidates = [candidate(i, score, look) for i, (score, look) in enumerate(zip((1.0, 0.5, 0.4), looks, strict=True))]
    labeled = [candidate(90, 0.0, (0.01, 0, 0)), candidate(91, 0.0, (4.01, 0, 0))]
    assert numbers(choose(candidates, 1)) == [0]
    assert numbers(choose(candidates, 1, labeled)) == [2]
    assert choose([], 5) == []


def test_a_pool_keeps_the_best_of_a_still_scene_and_the_best_of_all() -> None:
    pool, mark = Pool(limit=3), candidate(0).print
    for i, score in enumerate((0.1, 0.9, 0.2)):  # a camera that does not move
        pool.add(candidate(i, score, print=mark ^ (1 << i)))
    for i, score in enumerate((0.4, 0.3, 0.8, 0.5), 3):
        pool.seen += 1
        pool.add(candidate(i, score))
    assert [one.number for one in pool.candidates()] == [1, 5, 6]


def test_a_pool_keeps_the_first_of_equal_scores() -> None:
    pool = Pool(limit=2)
    for i in range(4):  # none was counted between
        pool.add(candidate(i, 0.5))
    assert [one.number for one in pool.candidates()] == [0, 1]
