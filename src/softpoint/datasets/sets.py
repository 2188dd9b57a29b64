"""Public data sets by name: what to download, what to take out of it, and how to know that it is right."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from softpoint.datasets.download import download
from softpoint.datasets.unpack import content_digest, unpack


@dataclass(frozen=True)
class Part:
    """One file to download, and what of it belongs to the set.

    Args:
        url: where it is.
        file: its name among the downloads; .zip, .tar and .tar.gz are unpacked, anything else is taken as it is.
        size: its bytes: exact with a checksum, else about.
        checksum: "sha256:HEX" or "md5:HEX" of the file.
        content: `content_digest` of what is taken out, for archives that are packed anew for each download.
        inside: the folder in the archive to take files from, below its topmost folder where `topmost`.
        topmost: whether all paths begin with one folder that says nothing, as in archives of GitHub.
        keep: patterns of the paths below `inside` to take; a * also stands for slashes.
        into: the folder of the set to put them in.
    """

    url: str
    file: str
    size: int
    checksum: str | None = None
    content: str | None = None
    inside: str = ""
    topmost: bool = False
    keep: Sequence[str] = ("*",)
    into: str = ""

    def __post_init__(self) -> None:
        if self.checksum is None and self.content is None:
            raise ValueError(f"{self.url}: neither checksum nor content says how to know the right file; give one")

    def place(self, path: str) -> str | None:
        """Where a path of the archive belongs in the set; None for nowhere.

        >>> Part("https://...", "a.zip", 1, content="0", inside="data/mice", topmost=True).place("v1/data/mice/1.png")
        '1.png'
        """
        path = path.partition("/")[2] if self.topmost else path
        below = path.removeprefix(f"{self.inside}/") if self.inside else path
        if (self.inside and below == path) or not any(fnmatchcase(below, pattern) for pattern in self.keep):
            return None
        return f"{self.into}/{below}" if self.into else below

    def add(self, got: Path, folder: Path) -> None:
        """Put what the downloaded file `got` holds into the set's `folder`; ValueError for other content."""
        if not self.file.endswith((".zip", ".tar", ".tar.gz")):
            target = folder / self.into / self.file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(got, target)
            return
        found = content_digest(folder, unpack(got, folder, self.place))
        if self.content is not None and found != self.content:
            raise ValueError(
                f"{got} holds other files than it should: their digest is {found}, not {self.content}; remove it and"
                f" call again, and if that does not help, tell the owner of {self.url}"
            )


@dataclass(frozen=True)
class PublicSet:
    """A data set that everybody may download.

    Args:
        title: what it shows, with counts.
        license: under which it may be used.
        folder: its place below keypoints/.
        parts: what to download.
        finish: writes label files that the set lacks, into the folder it gets.
    """

    title: str
    license: str
    folder: str
    parts: Sequence[Part]
    finish: Callable[[Path], None] | None = None

    @property
    def size(self) -> int:
        """Bytes to download, about."""
        return sum(part.size for part in self.parts)

    def where(self, root: Path) -> Path:
        """Its folder below `root`."""
        return root / "keypoints" / self.folder

    def is_there(self, root: Path) -> bool:
        """Whether its folder holds anything: it is only moved there when it is complete."""
        return self.where(root).is_dir() and any(self.where(root).iterdir())

    def fetch(self, root: Path, keep: bool = False) -> Path:
        """Its folder below `root`, brought there if need be; whole or not at all.

        `keep` also keeps the archives. Raises as `download` and `unpack` do.
        """
        folder = self.where(root)
        if self.is_there(root):
            return folder
        downloads = root / "downloads"
        got = [download(part.url, downloads / part.file, part.size, part.checksum) for part in self.parts]
        with _unfinished(folder) as unfinished:
            for part, path in zip(self.parts, got, strict=True):
                part.add(path, unfinished)
            if self.finish is not None:
                self.finish(unfinished)
        if not keep:
            for path in got:
                path.unlink()
            _remove_empty(downloads)
        return folder


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that becomes it when all went well, and else vanishes."""
    new = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
    new.mkdir(parents=True)
    try:
        yield new
        _remove_empty(folder)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
