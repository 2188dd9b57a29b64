"""Download a public data set: softpoint fetch list, then softpoint fetch NAME"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.command_line import CONFIGS
from softpoint.paths import data_folders


def main(cfg: DictConfig) -> None:
    """Download the chosen data set and print its folder, or list all data sets if none is chosen."""
    from hydra.utils import instantiate

    download_or_list(cfg, "fetch", instantiate(cfg.fetch, _convert_="all") if "fetch" in cfg else None)


def download_or_list(cfg: DictConfig, group: str, chosen: Any) -> None:
    """Download what is chosen of a group of configs and print where it is, or list the group if that is None."""
    roots = data_folders() if cfg.root is None else [Path(cfg.root)]
    if chosen is None:
        return print_list(group, roots)
    if there := next(filter(chosen.is_complete, roots), None):
        return print(f"{chosen.path(there)} exists already; remove it to download it again")
    megabytes, content, license, *source = _described(chosen).values()
    print("; ".join([content, f"license: {license}", *source, f"{megabytes} MB"]), flush=True)
    return print(f"{chosen.fetch(roots[0], keep=cfg.keep)} is complete")


def print_list(group: str, roots: Sequence[Path]) -> None:
    """Print a table of all options of a group: what they are, and whether they are in one of `roots`."""
    from hydra.utils import instantiate
    from rich.table import Table

    from softpoint.tables import console

    table = Table(box=None, pad_edge=False)
    for path in sorted((CONFIGS / group).glob("*.yaml")):
        option = instantiate(OmegaConf.load(path), _convert_="all")
        cells = {"name": path.stem, **_described(option)}
        cells["downloaded"] = "yes" if any(map(option.is_complete, roots)) else ""
        if not table.columns:
            for title in cells:
                table.add_column(title, no_wrap=title == "name", overflow="fold")
        table.add_row(*cells.values())
    console().print(table)


def _described(option: Any) -> dict[str, str]:
    """What an option is, by title; weights also have a source."""
    cells = {"MB": f"{option.size / 1e6:.0f}", "content": option.title, "license": option.license}
    return cells | ({"source": option.source} if hasattr(option, "source") else {})


def arguments(words: Sequence[str], group: str = "fetch") -> list[str]:
    """Return the command line for Hydra: a bare NAME chooses that option of a group, and `list` chooses none.

    >>> arguments(["mirror_mouse", "keep=true"]), arguments(["list"])
    (['fetch=mirror_mouse', 'keep=true'], [])
    """
    names = [word for word in words if "=" not in word and not word.startswith("-")]
    if len(names) > 1:
        sys.exit(f"error: {' and '.join(names)} are several names; fetch one at a time")
    chosen = [f"{group}={name}" for name in names if name != "list"]
    return chosen + [word for word in words if word not in names]
