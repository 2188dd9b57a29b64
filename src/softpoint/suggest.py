"""Names in messages: the nearest to a misspelled one, and settings to type."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """A phrase that ends an error message: the nearest option, or all of them when none is near.

    >>> did_you_mean("nsoe", ["nose", "tail"])
    "did you mean 'nose'?"
    >>> did_you_mean("wing", ["nose", "tail"])
    'choose from nose, tail'
    """
    options = [str(option) for option in options]
    near = get_close_matches(word, options, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(options)}"


def check_choice(key: str, value: object, options: Iterable[object]) -> None:
    """Raise ValueError unless `value` is one of `options`; `key` is its name in the config.

    >>> check_choice("data.mode", "imgae", ["image", "instance"])
    Traceback (most recent call last):
    ValueError: data.mode='imgae': did you mean 'image'?
    """
    options = list(options)
    if value not in options:
        raise ValueError(f"{key}={value!r}: {did_you_mean(str(value), map(str, options))}")


def quoted(text: object) -> str:
    """Return a text in the quotes of Hydra's overrides, where backslashes escape before a quote and at the end alone.

    >>> print(quoted(r"it's \\d"))
    'it\\'s \\d'
    """
    return "'" + re.sub(r"(\\*)('|\Z)", lambda m: 2 * m[1] + m[2].replace("'", "\\'"), str(text)) + "'"


def quoted_name(name: str) -> str:
    """Return a name in a list of Hydra's overrides, in quotes unless it is a plain word.

    >>> print(quoted_name("ear_1"), quoted_name("ear 1"), quoted_name("null"))
    ear_1 'ear 1' 'null'
    """
    values = ("null", "true", "false", "nan", "inf")
    plain = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and name.lower() not in values
    return name if plain else quoted(name)
