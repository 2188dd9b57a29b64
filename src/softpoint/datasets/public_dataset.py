"""The recipe of a public data set: its downloads, the files to extract, and the digests that verify them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from softpoint.datasets.download import download
from softpoint.datasets.unpack import content_digest, unpack

_ARCHIVES = (".zip", ".whl", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class RemoteFile:
    """One file to download, and which part of it belongs to the data set.

    Args:
        url: its address.
        file: its name among the downloads; archives (.zip, .whl, .tar, .tar.gz, .tgz) are unpacked, other files copied.
        size: bytes; exact with a checksum, else approximate.
        checksum: "sha256:HEX" or "md5:HEX" of the file.
        content: `content_digest` of the extracted files, for archives that are packed again for every download.
        subfolder: the folder in the archive to extract files from.
        strip_root: whether to drop the topmost folder of all paths first, as in archives of GitHub.
        include: patterns of the paths below `subfolder` to extract; a * also matches slashes.
        target: the folder of the data set to extract into.
    """

    url: str
    file: str
    size: int
    checksum: str | None = None
    content: str | None = None
    subfolder: str = ""
    strip_root: bool = False
    include: Sequence[str] = ("*",)
    target: str = ""

    def __post_init__(self) -> None:
        if self.checksum is None and self.content is None:
            raise ValueError(f"{self.url} has neither checksum nor content to verify it by; give one")

    def place(self, path: str) -> str | None:
        """Return where a path of the archive belongs in the data set, or None for a file that does not.

        >>> file = RemoteFile("https://...", "a.zip", 1, content="0", subfolder="data/mice", strip_root=True)
        >>> file.place("v1/data/mice/1.png")
        '1.png'
        """
        path = path.partition("/")[2] if self.strip_root else path
        below = path.removeprefix(f"{self.subfolder}/") if self.subfolder else path
        if (self.subfolder and below == path) or not any(fnmatchcase(below, pattern) for pattern in self.include):
            return None
        return f"{self.target}/{below}" if self.target else below

    def add_to(self, folder: Path, downloaded: Path) -> None:
        """Extract or copy the downloaded file into the data set's folder; ValueError for unexpected content."""
        if not self.file.endswith(_ARCHIVES):
            target = folder / self.target / self.file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(downloaded, target)
            return
        digest = content_digest(folder, unpack(downloaded, folder, self.place))
        if self.content is not None and digest != self.content:
            raise ValueError(
                f"{downloaded} contains other files than expected: their digest is {digest}, not {self.content};"
                f" remove it and run the command again, and if that does not help, report it to the owner of {self.url}"
            )


@dataclass(frozen=True)
class PublicDataset:
    """A data set that everybody may download.

    Args:
        title: its content, with counts.
        license: the license that it may be used under.
        folder: its folder below keypoints/.
        files: the downloads.
        convert: writes label files that the downloads lack into the data set's folder.
    """

    title: str
    license: str
    folder: str
    files: Sequence[RemoteFile]
    convert: Callable[[Path], None] | None = None

    @property
    def size(self) -> int:
        """Approximate bytes to download."""
        return sum(file.size for file in self.files)

    def path(self, root: Path) -> Path:
        """Return the data set's folder below `root`."""
        return root / "keypoints" / self.folder

    def is_complete(self, root: Path) -> bool:
        """Return whether its folder has files: a folder gets its name only when it is complete."""
        return self.path(root).is_dir() and any(self.path(root).iterdir())

    def fetch(self, root: Path, keep: bool = False) -> Path:
        """Return the data set's folder below `root`, downloading it if necessary; `keep` keeps the archives.

        A failure leaves no folder, only downloads to resume. Raises as `download` and `unpack` do.
        """
        folder = self.path(root)
        if self.is_complete(root):
            return folder
        with downloaded(self.files, root, folder.with_name(f".{folder.name}.unfinished"), keep) as unfinished:
            if self.convert is not None:
                self.convert(unfinished)
            if folder.is_dir():
                folder.rmdir()  # it is empty, or it would be complete
            unfinished.rename(folder)
        return folder


@contextmanager
def downloaded(files: Sequence[RemoteFile], root: Path, folder: Path, keep: bool) -> Iterator[Path]:
    """Yield a new folder with the content of files, which is removed after the block unless that renamed it.

    What was downloaded stays below `root` if `keep`, or if the block fails.
    """
    downloads = root / "downloads"
    paths = [download(file.url, downloads / file.file, file.size, file.checksum) for file in files]
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir(parents=True)
    try:
        for file, path in zip(files, paths, strict=True):
            file.add_to(folder, path)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not keep:
        for path in paths:
            path.unlink()
        if not any(downloads.iterdir()):
            downloads.rmdir()
