"""Colors of pages, those of reports and of the explorer, in light and dark mode: readable (WCAG 2.2, level AA)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from softpoint.colors import contrast, readable, to_hex

# Name: color in the light mode and in the dark mode.
PALETTE = {
    "background": ("#ffffff", "#15181c"),
    "surface": ("#f3f5f7", "#1f242a"),
    "text": ("#1b1f24", "#e8eaed"),
    "muted": ("#57606a", "#a3adb8"),
    "line": ("#d0d7de", "#3a424c"),
    "link": ("#0b5cad", "#7ab8ff"),
    "caution": ("#fff4dc", "#35290f"),
    "caution-edge": ("#b35900", "#e5a13c"),
}
HEX = re.compile(r"#[0-9a-f]{6}\b")
# Between a mark of a figure and its background.
MARK_CONTRAST = 3.0
_CHROMA = 8  # difference of channels up to which a color counts as gray


def dark_twin(color: str) -> str:
    """Return the color in the dark mode of a figure's color #RRGGBB, which is made for white.

    A gray keeps its contrast to the background, so that what is faint stays faint; another color keeps its hue.

    >>> dark_twin("#ffffff") == PALETTE["background"][1], dark_twin("#e69f00")
    (True, '#e69f00')
    """
    rgb, background = _rgb(color), _rgb(PALETTE["background"][1])
    if max(rgb) - min(rgb) <= _CHROMA:
        return to_hex(readable(background, background, min(contrast(rgb, (255, 255, 255)), 15)))
    return to_hex(readable(rgb, background, 4.5))


def style_sheet(colors: Iterable[str], originals: Mapping[str, str]) -> str:
    """Return the variables of the page and, of the colors of its figures, `--c-RRGGBB`; print is always light.

    `originals` are the colors that were darkened for a light background, by what they became.
    """
    twins = {color: dark_twin(originals.get(color, color)) for color in sorted(set(colors))}
    pairs = PALETTE | {f"c-{color[1:]}": (color, twin) for color, twin in twins.items()}
    light, dark = (" ".join(f"--{name}: {pair[mode]};" for name, pair in pairs.items()) for mode in (0, 1))
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"


def _rgb(color: str) -> tuple[int, int, int]:
    r, g, b = bytes.fromhex(color[1:])
    return r, g, b
