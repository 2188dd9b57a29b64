"""Spatial softmax and attention in numbers and figures: softpoint demo softmax"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from softpoint.cli.overrides import whole_number
from softpoint.suggest import did_you_mean

if TYPE_CHECKING:
    from softpoint.demo.panels import Drawing
    from softpoint.demo.sources import NamedMap


def arguments(words: Sequence[str]) -> list[str]:
    """Return the command line for Hydra: a bare TOPIC chooses it.

    >>> arguments(["softmax", "seed=1"]), arguments(["--help"])
    (['topic=softmax', 'seed=1'], ['--help'])
    """
    names = [word for word in words if "=" not in word and not word.startswith(("-", "~"))]
    if len(names) > 1:
        sys.exit(f"error: {' and '.join(names)} are several topics; choose one")
    return [f"topic={word}" if word in names else word for word in words]


def main(cfg: DictConfig) -> None:
    """Print the tables of a topic and write its figures, or list the topics where none is chosen."""
    if cfg.topic is None:
        return print("\n".join(f"softpoint demo {name:<12}{topic.__doc__}" for name, topic in TOPICS.items()))
    if cfg.topic not in TOPICS:
        raise ValueError(f"no topic {cfg.topic!r}; {did_you_mean(str(cfg.topic), TOPICS)}")
    from softpoint.viz.figures import write_figure

    whole_number(cfg, "seed")
    given = {word.split("=")[0] for word in HydraConfig.get().overrides.task}
    if unused := given & _OTHERS_KEYS[cfg.topic]:
        raise ValueError(f"demo {cfg.topic} has no {min(unused)}; see softpoint demo --help")
    drawings = dict(TOPICS[cfg.topic](cfg))
    for name, drawing in drawings.items():
        write_figure(Path(cfg.output) / name, drawing.figure, drawing.text)
        print(f"{name}: {drawing.text}")
    return print(f"{cfg.output}: {', '.join(f'{name}.png and .svg' for name in drawings)}")


def softmax(cfg: DictConfig) -> Iterator[tuple[str, Drawing]]:
    """One map, its softmax, its points, entropy and covariance; several channels, and a batch"""
    from softpoint.demo.analysis import analyze
    from softpoint.demo.arrays import as_batch, load_maps
    from softpoint.demo.feature_maps import example_batch
    from softpoint.demo.figures import batch_figure, channels_figure, softmax_figure
    from softpoint.demo.sources import snippet
    from softpoint.demo.tables import softmax_tables
    from softpoint.tables import console

    source = chosen_map(cfg)
    (temperature,), window = numbers(cfg, "temperature", 1), whole_number(cfg, "window", 1)
    analysis = analyze(source.logits, temperature, window)
    console().print(softmax_tables(analysis, source.name))
    print(f"The same in Python:\n\n{snippet(source, temperature, window)}")
    yield "softmax", softmax_figure(analysis, source.name)
    if cfg.image is not None:  # one map alone
        return
    own = cfg.file is not None
    maps = as_batch(load_maps(cfg.file)) if own else example_batch(_size(cfg), whole_number(cfg, "seed"))
    if maps.shape[-1] > 1:
        yield "channels", channels_figure(maps[cfg.sample if own else 0], temperature, window)
    if len(maps) > 1:
        yield "batch", batch_figure(maps, temperature, window)


def temperature(cfg: DictConfig) -> Iterator[tuple[str, Drawing]]:
    """One map, and four kinds of map, at several temperatures"""
    from softpoint.demo.analysis import analyze
    from softpoint.demo.feature_maps import feature_map
    from softpoint.demo.figures import kinds_figure, temperature_figure
    from softpoint.demo.sources import snippet
    from softpoint.demo.tables import temperature_table
    from softpoint.tables import console

    source, temperatures, window = chosen_map(cfg), numbers(cfg, "temperatures", 6), whole_number(cfg, "window", 1)
    analyses = [analyze(source.logits, temperature, window) for temperature in temperatures]
    console().print(temperature_table(analyses, source.name))
    print(f"The first row in Python:\n\n{snippet(source, temperatures[0], window)}")
    yield "temperature", temperature_figure(analyses, source.name)
    kinds = ("horizontal_gradient", "random", "two_peaks", "floor")
    maps = {kind.replace("_", " "): feature_map(kind, _size(cfg), cfg.seed) for kind in kinds}
    yield "kinds", kinds_figure(maps, temperatures, window)


def attention(cfg: DictConfig) -> Iterator[tuple[str, Drawing]]:
    """Dynamic Spatial Attention: branches, router weights, and masks at several temperatures"""
    from softpoint.demo.attention import attention_steps, map_features, seeded_module, seeded_run
    from softpoint.demo.attention_figure import attention_figure
    from softpoint.demo.tables import attention_tables
    from softpoint.tables import console

    temperatures, seed = numbers(cfg, "temperatures", 6), whole_number(cfg, "seed")
    features = map_features(chosen_map(cfg).logits, seed)
    print(f"random features (2, 64, 56, 56) of seed {seed}, and a module of its own weights per temperature:")
    console().print(attention_tables(seeded_run(seed, temperatures)))
    print("The figure shows one module of random weights on features that vary as the map does.")
    yield "attention", attention_figure(attention_steps(features, seeded_module(seed), temperatures))


# Keys of other topics.
_OTHERS_KEYS = {"softmax": {"temperatures"}, "temperature": {"temperature"}, "attention": {"temperature", "window"}}
TOPICS: dict[str, Callable[[DictConfig], Iterator[tuple[str, Drawing]]]] = {
    "softmax": softmax,
    "temperature": temperature,
    "attention": attention,
}


def chosen_map(cfg: DictConfig) -> NamedMap:
    """Return the map of `file`, of `image` or of `feature_map`; ValueError for two of them."""
    from softpoint.demo.sources import file_map, image_map, kind_map
    from softpoint.images.decode import read_image

    if cfg.image is not None and cfg.file is not None:
        raise ValueError(f"image={cfg.image} and file={cfg.file} both name a map; give one of them")
    if cfg.file is not None:
        return file_map(cfg.file, whole_number(cfg, "sample"), whole_number(cfg, "channel"))
    if cfg.image is not None:
        return image_map(read_image(cfg.image, exif="apply"), cfg.image, whole_number(cfg, "size", 1))
    return kind_map(cfg.feature_map, _size(cfg), whole_number(cfg, "seed"))


def numbers(cfg: DictConfig, key: str, most: int) -> list[float]:
    """Return the list of up to `most` different numbers at `key`, where one alone needs no brackets.

    >>> numbers(OmegaConf.create({"temperature": 2}), "temperature", 1)
    [2.0]
    """
    given = list(cfg[key]) if OmegaConf.is_list(cfg[key]) else [cfg[key]]
    plain = all(isinstance(number, int | float) and not isinstance(number, bool) for number in given)
    if not plain or not 1 <= len(set(given)) == len(given) <= most:
        wanted = "a number" if most == 1 else f"up to {most} different numbers"
        raise ValueError(f"{key}={cfg[key]}: give {wanted} as {key}={0.5 if most == 1 else [0.5, 1]}")
    return [float(number) for number in given]


def _size(cfg: DictConfig) -> tuple[int, int]:
    side = whole_number(cfg, "size", 1)
    return side, side
