"""Brings a public data set here: python scripts/fetch_data.py list, then python scripts/fetch_data.py NAME"""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.hydra_app import CONFIGS, launch


def main(cfg: DictConfig) -> None:
    """Downloads the chosen set and says where it is, or lists all sets where none is chosen."""
    from hydra.utils import instantiate

    root = Path(cfg.root)
    if "fetch" not in cfg:
        return listing(root)
    chosen = instantiate(cfg.fetch, _convert_="all")
    if chosen.is_there(root):
        return print(f"{chosen.where(root)} is there already; remove it to download it again")
    print(f"{chosen.title}; license: {chosen.license}; {chosen.size / 1e6:.0f} MB")
    return print(f"{chosen.fetch(root, keep=cfg.keep)} is complete")


def listing(root: Path) -> None:
    """Prints every set with its size and license, and whether it is in `root`."""
    from hydra.utils import instantiate
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "MB", "shows", "license", "here", box=None, pad_edge=False)
    for path in sorted((CONFIGS / "fetch").glob("*.yaml")):
        found = instantiate(OmegaConf.load(path), _convert_="all")
        here = "yes" if found.is_there(root) else ""
        table.add_row(path.stem, f"{found.size / 1e6:.0f}", found.title, found.license, here)
    Console().print(table)


def words(line: list[str]) -> list[str]:
    """The command line as Hydra reads it: a bare NAME chooses that set, and list chooses none.

    >>> words(["mirror_mouse", "keep=true"]), words(["list"])
    (['fetch=mirror_mouse', 'keep=true'], [])
    """
    names = [word for word in line if "=" not in word and not word.startswith("-")]
    if len(names) > 1:
        sys.exit(f"error: {' and '.join(names)} are several sets; fetch one at a time")
    chosen = [f"fetch={name}" for name in names if name != "list"]
    return chosen + [word for word in line if word not in names]


def run() -> None:
    """The command line of this command."""
    sys.argv[1:] = words(sys.argv[1:])
    launch("fetch_data", main)
