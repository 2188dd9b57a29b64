"""Images are chosen by expected error and difference, near duplicates never, and a pool holds the best."""

from __future__ import annotations

import numpy as np

from helpers.selection import candidate
from softpoint.images.duplicates import NEAR
from softpoint.selection.candidates import Pool
from softpoint.selection.diversity import choose


def numbers(choices: list) -> list[int]:
    return [choice.candidate.number for choice in choices]


def test_of_equal_images_the_larger_error_and_of_equal_errors_the_other_look_is_chosen() -> None:
    looks = [(0, 0, 0), (0.1, 0, 0), (5, 0, 0), (5.1, 0, 0)]
    candidates = [
        candidate(i, score, look) for i, (score, look) in enumerate(zip((1, 0.9, 0.7, 0.6), looks, strict=True))
    ]
    assert numbers(choose(candidates, 2)) == [0, 2]
    assert numbers(choose(candidates, 9)) == [0, 2, 1, 3]


def test_an_odd_image_counts_no_more_than_a_usual_pair() -> None:
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(30, 3))
    looks[7] = 1000.0
    scores = np.ones(30)
    scores[7], scores[3] = 0.3, 1.1
    chosen = choose([candidate(i, float(scores[i]), looks[i]) for i in range(30)], 5)
    assert 7 not in numbers(chosen) and numbers(chosen)[0] == 3
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
