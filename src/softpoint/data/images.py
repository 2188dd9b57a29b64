"""Pictures on disk: their pixels, and their size without decoding them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm", ".jp2")

# Pillow tries only these: some of its other readers start programs (EPS) or are hardly ever exercised,
# and a picture is untrusted input.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000")


def read_image(path: str | Path) -> np.ndarray:
    """The picture as writable uint8 (H, W, 3) RGB; 16-bit grey keeps its upper byte, transparency is dropped.

    The pixels come as they lie in the file. An EXIF orientation is not applied, here and in `image_size`:
    labels are made on raw pixels by the usual tools, and rotating some pictures would move their keypoints.
    Raises FileNotFoundError for a missing file and ValueError for one that cannot be read.
    """
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            return np.asarray(_to_rgb(picture)).copy()
    except Exception as error:  # decoders raise nearly anything on a damaged or hostile file
        raise _explain(Path(path), error) from error


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a picture from its header alone; raises as `read_image` does."""
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            return picture.height, picture.width
    except Exception as error:
        raise _explain(Path(path), error) from error


def list_images(folder: str | Path) -> list[Path]:
    """All pictures in a folder and below it, sorted; hidden files and folders are passed over.

    Raises FileNotFoundError where there is no such folder, ValueError where it holds no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"image folder {folder} {problem}; name a folder that holds pictures")
    paths = sorted(path for path in folder.rglob("*") if _is_picture(path.relative_to(folder)) and path.is_file())
    if not paths:
        raise ValueError(f"{folder} holds no picture; looked below it for {' '.join(SUFFIXES)}")
    return paths


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _to_rgb(picture: Image.Image) -> Image.Image | np.ndarray:
    if picture.mode == "RGB":
        return picture
    # Pillow would clip 16-bit values at 255, which turns nearly every picture white.
    if picture.mode.startswith("I"):
        return _upper_byte(np.asarray(picture))
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers without a known range; save it with 8 or 16 bits")
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


def _upper_byte(grey: np.ndarray) -> np.ndarray:
    # A fixed rule: stretching each picture by its own range would change brightness from frame to frame.
    if grey.min() < 0 or grey.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"its pixels span {grey.min()} to {grey.max()}; save it with 8 or 16 bits")
    return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)


def _explain(path: Path, error: Exception) -> Exception:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return FileNotFoundError(f"image {path} does not exist; check the path and data.images")
    if isinstance(error, IsADirectoryError):
        return ValueError(f"image {path} is a folder; name a picture inside it")
    if isinstance(error, PermissionError):
        return ValueError(f"image {path} may not be read by this user; change its permissions")
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return ValueError(f"image {path} is too large to decode safely ({error}); crop it or scale it down")
    if isinstance(error, Image.UnidentifiedImageError):
        if path.stat().st_size == 0:
            return ValueError(f"image {path} is empty (0 bytes); copy it again, or remove it from the labels")
        known = ", ".join(_FORMATS)
        return ValueError(f"{path} is not an image that can be read ({known}); convert it or remove it")
    return ValueError(f"image {path} cannot be decoded: {error}; copy it again, or convert it to PNG")
