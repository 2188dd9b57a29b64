"""Names in messages: the nearest to a misspelled one, and settings to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Container, Iterable, Sequence
from difflib import get_close_matches

_LISTED = 40  # of the options that a message names


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """A phrase that ends an error message: the nearest option, or the first 40 of them when none is near.

    >>> did_you_mean("nsoe", ["nose", "tail"])
    "did you mean 'nose'?"
    >>> did_you_mean("wing", ["nose", "tail"])
    'choose from nose, tail'
    """
    options = [str(option) for option in options]
    near = nearest(word, options)
    return f"did you mean {near[0]!r}?" if near else choose_from(options)


def choose_from(options: Sequence[str]) -> str:
    """A phrase that ends an error message: the options, of many the first.

    >>> choose_from(["nose", "tail"])
    'choose from nose, tail'
    """
    more = f" and {len(options) - _LISTED} more" if len(options) > _LISTED else ""
    return f"choose from {', '.join(options[:_LISTED])}{more}"


def nearest(word: str, options: Iterable[str]) -> list[str]:
    """Return the option that a word is a misspelling of, if there is one.

    >>> nearest("nsoe", ["nose", "tail"]), nearest("wing", ["nose", "tail"])
    (['nose'], [])
    """
    return get_close_matches(word, [*options], n=1, cutoff=0.5)


def check_choice(key: str, value: object, options: Iterable[object]) -> None:
    """Raise ValueError unless `value` is one of `options`; `key` is its name in the config.

    >>> check_choice("data.mode", "imgae", ["image", "instance"])
    Traceback (most recent call last):
    ValueError: data.mode='imgae': did you mean 'image'?
    """
    options = list(options)
    if value not in options:
        raise ValueError(f"{key}={value!r}: {did_you_mean(str(value), map(str, options))}")


def without_data(message: str, keys: Container[str] = ("bits", "exif", "max_pixels")) -> str:
    """Return a message for a command that has these settings of data as keys of its own, without that group.

    >>> without_data("data.png has 12 bits; set data.bits=12")
    'data.png has 12 bits; set bits=12'
    """
    return re.sub(r"\bdata\.(\w+)", lambda match: match[1] if match[1] in keys else match[0], message)


def quoted(text: object) -> str:
    """Return a text in the quotes of Hydra's overrides.

    Backslashes escape only before a quote, a reference, and at the end.

    >>> print(quoted(r"it's \\d of ${x}"))
    'it\\'s \\d of \\${x}'
    """
    escaped = re.sub(r"(\\*)('|\$\{|\Z)", lambda m: 2 * m[1] + ("\\" + m[2] if m[2] else ""), str(text))
    return f"'{escaped}'"


def setting(key: str, value: object) -> str:
    """Return KEY=VALUE of a text for a shell, quoted where Hydra or the shell would read the value as anything else.

    >>> print(setting("ckpt", "runs/a/best.ckpt"), setting("ckpt", "a=1/best.ckpt"), setting("output", "2024_01"))
    ckpt=runs/a/best.ckpt "ckpt='a=1/best.ckpt'" "output='2024_01'"
    """
    word = f"{key}={text_value(value)}"
    # Double quotes where they take all as it is, also in a shell of Windows, which has no single ones.
    return f'"{word}"' if "'" in word and not re.search(r'["$`\\!%]', word) else shlex.quote(word)


def text_value(value: object) -> str:
    """Return a text as Hydra's overrides have it, quoted where they would read it as anything else.

    >>> print(text_value("runs/a.csv"), text_value("a b"), text_value("7"))
    runs/a.csv 'a b' '7'
    """
    text = str(value)
    plain = re.fullmatch(r"[\w./][\w./@%+-]*", text, re.ASCII) and not _is_value(text)
    return text if plain else quoted(text)


def trust_setting(packages: Iterable[str]) -> str:
    """Return what follows a command that reads a network with modules of these packages, if any is the user's own.

    >>> trust_setting(["softpoint.models", "mine"]), trust_setting(["softpoint.models"])
    (" 'trust=[mine]'", '')
    """
    own = sorted({package for package in packages if not f"{package}.".startswith("softpoint.")})
    return " " + shlex.quote(f"trust=[{','.join(own)}]") if own else ""


def quoted_name(name: str) -> str:
    """Return a name in a list of Hydra's overrides, in quotes unless it is a plain word.

    >>> print(quoted_name("ear_1"), quoted_name("ear 1"), quoted_name("null"))
    ear_1 'ear 1' 'null'
    """
    plain = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and not _is_value(name)
    return name if plain else quoted(name)


def _is_value(text: str) -> bool:
    """Return whether Hydra reads an unquoted text as a number, a truth value or nothing."""
    try:
        float(text)
    except ValueError:
        return text.lower() in ("null", "true", "false")
    return True
