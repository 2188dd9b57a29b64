"""Colors, fonts and layout of the page, in a light and a dark mode of WCAG AA contrast."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import gradio as gr

from softpoint.viz.theme import PALETTE


def theme() -> gr.themes.Base:
    """Return a theme of the colors of a report, which needs no font but the system's."""
    base = gr.themes.Base(
        font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"), radius_size=gr.themes.sizes.radius_sm
    )
    return base.set(**_variables())


def _variables() -> dict[str, Any]:
    """Return gradio's variables that carry text, lines and buttons, of both modes."""
    roles = {
        "text": ("body_text_color", "block_label_text_color", "block_title_text_color", "checkbox_label_text_color",
                 "button_secondary_text_color", "checkbox_label_text_color_selected"),
        "muted": ("body_text_color_subdued", "block_info_text_color", "input_placeholder_color"),
        "background": ("body_background_fill", "input_background_fill", "block_background_fill",
                       "checkbox_background_color", "checkbox_label_background_fill"),
        "surface": ("button_secondary_background_fill", "background_fill_secondary", "block_label_background_fill",
                    "checkbox_label_background_fill_hover"),
        "line": ("border_color_primary", "block_border_color"),
        "muted ": ("input_border_color", "checkbox_border_color", "button_secondary_border_color",
                   "checkbox_label_border_color"),
        "link": ("link_text_color", "link_text_color_hover", "link_text_color_visited", "link_text_color_active",
                 "border_color_accent", "slider_color", "checkbox_background_color_selected",
                 "checkbox_border_color_selected"),
    }  # fmt: skip
    values: dict[str, Any] = {}
    for part in ("button", "checkbox_label", "input"):
        values[f"{part}_border_width"] = values[f"{part}_border_width_dark"] = "1px"
    for role, names in roles.items():
        for name in names:
            values[name], values[f"{name}_dark"] = PALETTE[role.strip()]
    return values


def css() -> str:
    """Return the style of the page's own parts, after the colors of each mode."""
    modes = ((":root", 0), (".dark", 1))
    colors = [
        f"{mode} {{ {' '.join(f'--sp-{name}: {pair[i]};' for name, pair in PALETTE.items())} }}" for mode, i in modes
    ]
    sheet = files("softpoint.explorer").joinpath("page.css").read_text(encoding="utf-8")
    return "\n".join([*colors, sheet])
