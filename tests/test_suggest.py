"""A misspelled name is answered by the nearest one, or by all of them."""

from __future__ import annotations

import pytest

from softpoint.suggest import did_you_mean


@pytest.mark.parametrize(
    ("word", "nearest"), [("resnet81", "resnet18"), ("rsnet50", "resnet50"), ("resnet18", "resnet18")]
)
def test_the_nearest_option(word: str, nearest: str):
    assert did_you_mean(word, ["resnet18", "resnet50", "vgg11"]) == f"did you mean {nearest!r}?"


def test_all_options_when_none_is_near():
    assert did_you_mean("zzz", {"nose": 1, "tail": 2}) == "choose from nose, tail"


def test_options_need_not_be_words():
    assert did_you_mean("7", [2, 3]) == "choose from 2, 3"
