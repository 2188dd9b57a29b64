"""A misspelled name is answered by the nearest one, or by all of them; a setting to type means the same when typed."""

from __future__ import annotations

import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from softpoint.suggest import did_you_mean, setting

TEXTS = [
    *("runs/a/best.ckpt", "../a b", " a ", "a=1, b", "it's", 'say "hi"', "a[1]{b}(c)", "C:\\new\\x", "back\\", "\\'"),
    *("2024_01", "1e5", "nan", "null", "True", "~/a", "-a", "\u00e9\u2192", "$HOME `x` !", "#a", "%PATH%", "*?;&|<>"),
    *("${x}", "a\\${x}", "hf://user/name@v1", "a:b", "2026-01-02_12-00-00", "", "it's $5"),
]


@pytest.mark.parametrize(
    ("word", "nearest"), [("resnet81", "resnet18"), ("rsnet50", "resnet50"), ("resnet18", "resnet18")]
)
def test_the_nearest_option(word: str, nearest: str):
    assert did_you_mean(word, ["resnet18", "resnet50", "vgg11"]) == f"did you mean {nearest!r}?"


def test_all_options_when_none_is_near():
    assert did_you_mean("zzz", {"nose": 1, "tail": 2}) == "choose from nose, tail"


def test_options_need_not_be_words():
    assert did_you_mean("7", [2, 3]) == "choose from 2, 3"


@pytest.mark.parametrize("shell", ["bash", "zsh", "sh"])
def test_a_printed_setting_is_the_same_text_where_it_is_typed(shell: str) -> None:
    typed = " ".join(setting("key", text) for text in TEXTS)
    try:
        process = subprocess.run([shell, "-c", f"printf '%s\\n' {typed}"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip(f"there is no {shell}")
    values = (OverridesParser.create().parse_override(word).value() for word in process.stdout.split("\n")[:-1])
    assert [OmegaConf.create({"key": value, "x": 1}).key for value in values] == TEXTS
