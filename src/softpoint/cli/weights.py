"""Download starting weights of a backbone: softpoint weights list, then softpoint weights fetch NAME"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from softpoint.cli import fetch


def main(cfg: DictConfig) -> None:
    """Download the chosen weights and print their file, or list all weights if none are chosen."""
    from hydra.utils import instantiate

    fetch.download_or_list(cfg, "weights", instantiate(cfg.weights, _convert_="all") if "weights" in cfg else None)


def arguments(words: Sequence[str]) -> list[str]:
    """Return the command line for Hydra: `fetch NAME` chooses those weights, and `list` chooses none.

    >>> arguments(["fetch", "movenet_lightning"]), arguments(["list", "root=here"])
    (['weights=movenet_lightning'], ['root=here'])
    """
    verb, *names = [word for word in words if "=" not in word and not word.startswith("-")] or ["list"]
    asks_for_help = not {"-h", "--help"}.isdisjoint(words)
    if not asks_for_help and (verb not in ("list", "fetch") or (verb == "fetch") != bool(names)):
        sys.exit("error: weights: give softpoint weights list, or softpoint weights fetch NAME")
    return fetch.arguments([word for word in words if word != verb], "weights")
