"""Errors of decoders as one clear error about an image."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, UnidentifiedImageError, features

# Formats that Pillow may read: some of its other readers start programs (EPS) or are hardly ever used, and an image is
# untrusted input.
FORMATS: tuple[str, ...] = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000")
if features.check("avif"):
    FORMATS += ("AVIF",)
if find_spec("pillow_heif"):  # softpoint[heif]
    import pillow_heif

    pillow_heif.register_heif_opener()
    FORMATS += ("HEIF",)

# First bytes of formats that Pillow does not identify where the kind of their values is unusual.
_KNOWN = {b"\xff\xd8": "JPEG", b"II": "TIFF", b"MM": "TIFF"}
# First brands of files that not every installation reads, and what does.
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIF", b"heix": "HEIF", b"hevc": "HEIF", b"mif1": "HEIF"}
NEEDED = {"AVIF": "Pillow 11.3 or newer", "HEIF": 'pip install "softpoint[heif]"'}
_RESAVE = "save it again with 8 or 16 bits, or as PNG"


class RefusedError(ValueError):
    """An error whose message is complete but for `{path}`."""


class NoProcessError(OSError):
    """An error of the machine, not of the image: no process starts that could decode it."""


@contextmanager
def image_explained(path: Path | None, exists: bool = False) -> Iterator[None]:
    """Turn any error of the block into one clear error about the image at `path`, or about one in memory.

    An image inside another file `exists`, though no file has its path.
    """
    try:
        if (
            path and not exists and not stat.S_ISREG(path.stat().st_mode) and not path.is_dir()
        ):  # opening a pipe would wait forever
            raise RefusedError("image {path} is no ordinary file; name an image")
        yield
    except NoProcessError:
        raise
    except Exception as error:  # decoders raise nearly anything on a damaged or hostile file
        raise _explain(path, error) from error


@contextmanager
def explained(place: str, advice: str) -> Iterator[None]:
    """Turn any error of a decoder on a damaged or hostile file into a ValueError about `place`."""
    try:
        yield
    except Exception as error:
        if type(error) is ValueError:
            raise ValueError(f"{place} {error}") from error
        raise ValueError(f"{place} cannot be decoded ({error}); {advice}") from error


def _explain(path: Path | None, error: Exception) -> Exception:
    if isinstance(error, RefusedError):
        return ValueError(str(error).replace("{path}", str(path or "in memory")))
    if path is None:
        reason = "its format is unknown" if isinstance(error, UnidentifiedImageError) else error
        return ValueError(f"the image cannot be decoded: {reason}; send it again, or convert it to PNG")
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return FileNotFoundError(f"image {path} does not exist; check the path and data.images")
    if isinstance(error, IsADirectoryError):
        return ValueError(f"image {path} is a folder; name an image inside it")
    if isinstance(error, PermissionError):
        return ValueError(f"image {path} may not be read by this user; change its permissions")
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return ValueError(f"image {path} is too large ({error}); set data.max_pixels higher, or scale it down")
    if isinstance(error, UnidentifiedImageError):
        if path.stat().st_size == 0:
            return ValueError(f"image {path} is empty (0 bytes); copy it again, or remove it from the labels")
        from softpoint.images.bands import tiff_bands

        with path.open("rb") as file:
            if (count := tiff_bands(file)) not in (0, 1, 3):
                return ValueError(f"image {path} has {count} channels; set data.channels={count} to read them")
            file.seek(0)
            head = file.read(12)
            needed = _BRANDS.get(head[8:]) if head[4:8] == b"ftyp" else None
            if needed and needed not in FORMATS:
                return ValueError(f"image {path} is {needed}, which needs {NEEDED[needed]}; or convert it to PNG")
            file.seek(0)
            if kind := _KNOWN.get(file.read(2)):
                return ValueError(f"image {path} is a {kind} of an unusual kind of values or compression; {_RESAVE}")
        return ValueError(f"{path} is not an image that can be read ({', '.join(FORMATS)}); convert it or remove it")
    return ValueError(f"image {path} cannot be decoded: {error}; copy it again, or convert it to PNG")
