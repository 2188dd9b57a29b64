"""Text of strangers as Markdown that says it and does nothing else."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence

_MARKS = re.compile(r"([\\`*_\[\]|~#$!:@]|(?<=[wW]{3})\.)")
_LONGEST = 200


def escape(text: object, most: int = _LONGEST) -> str:
    """The text in one line, with nothing that Markdown or HTML would act on.

    >>> print(escape("<b>left_ear</b> [x](http://y)"))
    &lt;b&gt;left\\_ear&lt;/b&gt; \\[x\\](http\\://y)
    """
    return _MARKS.sub(r"\\\1", html.escape(one_line(text, most), quote=False))


def one_line(text: object, most: int = _LONGEST) -> str:
    """The text without line breaks and other characters that cannot be seen, cut where it is too long.

    >>> one_line("a\\n\\u202eb")
    'a b'
    """
    words = " ".join(str(text)[: 4 * most].split())
    shown = "".join(letter for letter in words if unicodedata.category(letter)[0] != "C")
    return shown if len(shown) <= most else f"{shown[:most]}…"


def fenced(text: object, most: int = 4000) -> list[str]:
    """The text as lines of a block of code, whatever ticks are in it.

    >>> fenced("a ``` b")
    ['````', 'a ``` b', '````']
    """
    line = one_line(text, most)
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", line)), default=0))
    return [fence, line, fence]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table whose cells are Markdown already; numbers, in all columns but the first, stand right.

    >>> table(["name", "px"], [["nose", "1.5"]])
    ['| name | px |', '| --- | ---: |', '| nose | 1.5 |']
    """
    rule = ["---", *("---:" for _ in headings[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows)]
