"""Download a public data set: softpoint fetch list, then softpoint fetch NAME"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.hydra_errors import CONFIGS
from softpoint.paths import data_folders


def main(cfg: DictConfig) -> None:
    """Download the chosen data set and print its folder, or list all data sets if none is chosen."""
    from hydra.utils import instantiate

    roots = data_folders() if cfg.root is None else [Path(cfg.root)]
    if "fetch" not in cfg:
        return print_list(roots)
    dataset = instantiate(cfg.fetch, _convert_="all")
    if there := next(filter(dataset.is_complete, roots), None):
        return print(f"{dataset.path(there)} exists already; remove it to download it again")
    print(f"{dataset.title}; license: {dataset.license}; {dataset.size / 1e6:.0f} MB")
    return print(f"{dataset.fetch(roots[0], keep=cfg.keep)} is complete")


def print_list(roots: Sequence[Path]) -> None:
    """Print a table of all data sets: size, content, license, and whether it is in one of `roots`."""
    from hydra.utils import instantiate
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "MB", "content", "license", "downloaded", box=None, pad_edge=False)
    for path in sorted((CONFIGS / "fetch").glob("*.yaml")):
        dataset = instantiate(OmegaConf.load(path), _convert_="all")
        downloaded = "yes" if any(map(dataset.is_complete, roots)) else ""
        table.add_row(path.stem, f"{dataset.size / 1e6:.0f}", dataset.title, dataset.license, downloaded)
    Console().print(table)


def arguments(words: Sequence[str]) -> list[str]:
    """Return the command line for Hydra: a bare NAME chooses that data set, and `list` chooses none.

    >>> arguments(["mirror_mouse", "keep=true"]), arguments(["list"])
    (['fetch=mirror_mouse', 'keep=true'], [])
    """
    names = [word for word in words if "=" not in word and not word.startswith("-")]
    if len(names) > 1:
        sys.exit(f"error: {' and '.join(names)} are several data sets; fetch one at a time")
    chosen = [f"fetch={name}" for name in names if name != "list"]
    return chosen + [word for word in words if word not in names]
