"""The page of a server, on which a person tries the model; it loads nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from softpoint.colors import palette, to_hex


@cache
def page(num_keypoints: int, has_bands: bool = False) -> tuple[str, dict[str, str]]:
    """Return HTML, and headers by which a browser runs its own script alone and asks no other server.

    With `has_bands` it offers the files of images that have other channels than colors, too.

    >>> html, headers = page(2)
    >>> '<body data-colors="#e69f00 #56b4e9">' in html
    True
    >>> "default-src 'none'" in headers["Content-Security-Policy"]
    True
    >>> ", BMP, TIFF, .npy)" in page(2, has_bands=True)[0], ".npy" in html
    (True, False)
    """
    html = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    html = html.replace("COLORS", " ".join(map(to_hex, palette(num_keypoints).tolist())), 1)
    for color_files, files in ((", BMP)", ", BMP, TIFF, .npy)"), ("image/*", "image/*,.tif,.tiff,.npy")):
        html = html.replace(color_files, files, 1) if has_bands else html
    script, style = (_digest(html, tag) for tag in ("script", "style"))
    # Colors of a row are set by the script, which a policy on attributes does not concern.
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src blob:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}


def _digest(html: str, tag: str) -> str:
    match = re.search(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    assert match is not None
    return f"'sha256-{base64.b64encode(hashlib.sha256(match[1].encode()).digest()).decode()}'"
