"""Hostile JSON: valid content, damaged in its values or in its bytes."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

# Text, because `json.dumps` cannot make some of them.
_FRAGMENTS = (
    "null", "true", "false", "0", "1", "2", "3", "-1", "0.5", "7.0", "-0.0", "1e308", "-1e308", "1e999", "-1e999",
    "NaN", "Infinity", "-Infinity", "9" * 400, "9" * 5000, '""', '" "', '"x"', '"1"', '"..\\u002f..\\u002fx.png"',
    '"\\ud800"', '"\\u0000"', '"\\n"', '"C:\\\\x.png"', "[]", "[[]]", "[null]", "[1, 2]", "[NaN, 1, 2, 2]", "{}",
    '{"id": 1}', '{"id": 1, "id": 1}', "[" * 300 + "]" * 300, "[" * 100_000 + "]" * 100_000,
    '{"a":' * 50 + "1" + "}" * 50,
)  # fmt: skip


@st.composite
def hostile(draw: st.DrawFn, content: Any) -> bytes:
    """`content` as JSON with a few values replaced, doubled or dropped, and sometimes its bytes damaged."""
    content = {"": copy.deepcopy(content)}
    for _ in range(draw(st.integers(0, 4))):
        _spoil(draw, content)
    text = json.dumps(content[""])
    for number, fragment in enumerate(_FRAGMENTS):
        text = text.replace(f'"<{number}>"', fragment)
    return _damage(draw, text.encode("utf-8", "surrogatepass"))


def _spoil(draw: st.DrawFn, node: Any) -> None:
    """Replace, double or drop a random value at any depth."""
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    key = draw(st.sampled_from(keys))
    if isinstance(node[key], (dict, list)) and node[key] and draw(st.integers(0, 5)):
        _spoil(draw, node[key])
        return
    act = draw(st.sampled_from(("replace", "replace", "replace", "drop", "double")))
    if act == "replace":
        node[key] = f"<{draw(st.integers(0, len(_FRAGMENTS) - 1))}>"
    elif act == "drop" and key != "":
        del node[key]
    elif isinstance(node, list):
        node.append(copy.deepcopy(node[key]))


def _damage(draw: st.DrawFn, content: bytes) -> bytes:
    act = draw(st.sampled_from(("none", "none", "none", "flip", "cut", "insert", "drop")))
    at = draw(st.integers(0, max(0, len(content) - 1)))
    if act == "flip" and content:
        return content[:at] + bytes([content[at] ^ draw(st.integers(1, 255))]) + content[at + 1 :]
    if act == "insert":
        return content[:at] + draw(st.binary(min_size=1, max_size=4)) + content[at:]
    if act == "drop":
        return content[:at] + content[at + draw(st.integers(1, 30)) :]
    return content[:at] if act == "cut" else content
