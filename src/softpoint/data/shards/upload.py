"""Packing to the address of an object store: into a folder of this machine first, which is then uploaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from softpoint.data.shards.packed_format import DESCRIPTION


@contextmanager
def local_folder(output: str | Path) -> Iterator[Path]:
    """Yield the folder `output`, or for an address one in TMPDIR, which is uploaded when the block ends.

    softpoint.json is uploaded last: a set without it is incomplete. Raises ValueError for an address that holds a set
    or cannot be written, ImportError for one that needs another library.

    >>> import fsspec
    >>> with local_folder("memory://bucket/set") as folder:
    ...     folder.mkdir()
    ...     _ = (folder / "softpoint.json").write_text("{}")
    >>> fsspec.filesystem("memory").cat("/bucket/set/softpoint.json")
    b'{}'
    """
    address = str(output).rstrip("/")
    if "://" not in address:
        yield Path(output)
        return
    try:
        from fsspec.core import url_to_fs

        files, place = url_to_fs(address)
        taken = files.exists(f"{place}/{DESCRIPTION}")
    except ImportError as error:
        raise ImportError(f'output={address} needs pip install "softpoint[s3]" ({error})') from error
    except Exception as error:  # each object store has its own
        raise _unwritable(address, error) from error
    if taken:
        raise ValueError(f"output={address} holds a packed set already; choose a new address")
    with TemporaryDirectory(prefix="softpoint-pack-") as temporary:
        folder = Path(temporary, "set")
        yield folder
        paths = [path for path in folder.rglob("*") if path.is_file()]
        for path in sorted(paths, key=lambda path: path.name == DESCRIPTION):
            try:
                files.put_file(str(path), f"{place}/{path.relative_to(folder).as_posix()}")
            except Exception as error:
                raise _unwritable(address, error) from error


def _unwritable(address: str, error: Exception) -> ValueError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    return ValueError(f"output={address} cannot be written ({reason}); check the address and your credentials")
