"""Names of image files: the suffixes that are read, those that need a library, and the images in a folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from softpoint.images.decode_errors import FORMATS, NEEDED
from softpoint.paths import natural_key

SUFFIXES: tuple[str, ...] = (
    ".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm", ".jp2",
    *((".avif",) if "AVIF" in FORMATS else ()), *((".heic", ".heif") if "HEIF" in FORMATS else ()),
)  # fmt: skip

# Arrays of NumPy are images where a folder holds no other: beside images they are usually something else.
ARRAY = ".npy"

# What reads the images that cannot be read here.
_NEEDED = {".avif": NEEDED["AVIF"], ".heic": NEEDED["HEIF"], ".heif": NEEDED["HEIF"]}

_log = logging.getLogger(__name__)


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Return the images among files, or the arrays (.npy) where there are none; warn of those that cannot be read."""
    files = list(paths)
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    for suffix, library in _NEEDED.items():
        skipped = [path for path in files if path.suffix.lower() == suffix and suffix not in SUFFIXES]
        if skipped:
            _log.warning("%d %s files are skipped, such as %s: they need %s", len(skipped), suffix, skipped[0], library)
    return images or [path for path in files if path.suffix.lower() == ARRAY]


def list_images(folder: str | Path) -> list[Path]:
    """Return all images in a folder and below it, numbers in order; hidden files and folders are left out.

    Raises FileNotFoundError where there is no such folder, ValueError where it holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"image folder {folder} {problem}; name a folder that holds images")
    files = (path for path in folder.rglob("*") if not any(p.startswith(".") for p in path.relative_to(folder).parts))
    paths = sorted((path for path in image_files(files) if path.is_file()), key=natural_key)
    if not paths:
        raise ValueError(f"{folder} holds no image; looked below it for {' '.join((*SUFFIXES, ARRAY))}")
    return paths
