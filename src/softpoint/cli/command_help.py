"""The text of softpoint COMMAND --help: examples, groups, and the config with the comments of its files."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from string import Template
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from softpoint.cli.command_line import CommandLine, groups_of, public_keys
from softpoint.cli.unknown_keys import options_with, unknown_key

_WIDTH = 100
# The settings of a training that matter first; data=custom has those that others lack.
_FIRST = ("data.labels", "data.images", "data.splits", "data.size", "data.batch_size",
          "minutes", "epochs", "optimizer.lr", "init", "resume")  # fmt: skip
# Groups of a training, in the order of its help; `train` stands for them in a template.
_GROUPS = ("data", "model", "backbone", "attention", "decoder", "head", "norm", "loss", "optimizer", "scheduler",
           "augment", "scene", "semi", "trainer", "callbacks", "logger", "experiment", "sweep")  # fmt: skip


def command_help(line: CommandLine, *topics: str) -> str:
    """Return the help of a command as its arguments compose it, or of single groups and keys.

    Raises ValueError for a topic that the command does not have.
    """
    if topics:
        return "\n\n".join(_topic_help(line, topic) for topic in topics)
    cfg, texts = _explained(line)
    template = cfg.hydra.help.template
    del cfg.hydra
    return Template(template).safe_substitute(CONFIG="\n".join(_rows(cfg, texts))).rstrip()


def list_options(line: CommandLine, *groups: str) -> str:
    """Return a line for each group with its options; "train" stands for the groups of a training."""
    names = [name for group in groups for name in (_GROUPS if group == "train" else (group,))]
    return "".join(f"{_wrapped(f'{name}: ' + ', '.join(line.options(name)), '  ')}\n" for name in names)


def first_settings(line: CommandLine) -> str:
    """Return the settings of a training that matter first, of data=custom where the chosen data has no labels."""
    cfg, texts = _explained(line)
    if "labels" not in cfg.data:
        cfg, texts = _explained(line.bare.choosing("data", "custom"))
    return "".join(f"{_row(f'{key}={_value(cfg, key)}', texts.get(key, ''))}\n" for key in _FIRST)


def comments(text: str) -> dict[str, str]:
    """Return the comment of each key of a YAML file that has one, by dotted keys.

    >>> comments("a:  # of all\\n  b: 1  # of one,\\n        # and more\\n")
    {'a': 'of all', 'a.b': 'of one, and more'}
    """
    found: dict[str, str] = {}
    place: list[tuple[int, str]] = []
    last = ""
    for row in text.splitlines():
        if key := re.match(r"( *)['\"]?([^\s#:'\"]+)['\"]?:(?=\s|$)(.*)", row):
            place = [*(above for above in place if above[0] < len(key[1])), (len(key[1]), key[2])]
            last = ".".join(name for _, name in place)
            comment = re.search(r"(?:^|\s)# ?(.*)$", key[3])
            found |= {last: comment[1].strip()} if comment else {}
        elif (more := re.match(r"\s+# ?(.*)", row)) and last in found:
            found[last] += f" {more[1].strip()}"
        else:
            last = ""
    return found


def _explained(line: CommandLine) -> tuple[DictConfig, dict[str, str]]:
    """Return a config, with Hydra's own keys, and the comments of its files by the keys that these have in it."""
    cfg = line.visible()
    found = comments((line.folders[0] / f"{line.config_name}.yaml").read_text(encoding="utf-8"))
    chosen = {str(group): [option] for group, option in cfg.hydra.runtime.choices.items() if isinstance(option, str)}
    # Of a group of which several are chosen, each has its own key.
    groups: dict[str, Any] = {str(key): cfg._get_node(key) for key in cfg if key not in chosen}
    lists = {key: [*node] for key, node in groups.items() if OmegaConf.is_dict(node) and not node._is_interpolation()}
    for choice, options in {**lists, **chosen}.items():
        group, _, package = str(choice).partition("@")
        for text in _files(line, group, options):
            prefix = "" if text.startswith("# @package _global_") else f"{package or group.replace('/', '.')}."
            found |= {f"{prefix}{key}": comment for key, comment in comments(text).items()}
    return cfg, found


def _files(line: CommandLine, group: str, options: Sequence[str]) -> Iterator[str]:
    """Yield the text of each option of a group, after those that it is made of."""
    for path in (folder / group / f"{option}.yaml" for option in options for folder in line.folders):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            defaults = (yaml.safe_load(text) or {}).get("defaults", [])
            yield from _files(line, group, [name for name in defaults if isinstance(name, str) and name != "_self_"])
            yield text


def _topic_help(line: CommandLine, topic: str) -> str:
    cfg, texts = _explained(line)
    groups, known = groups_of(cfg), public_keys(cfg)
    del cfg.hydra
    if topic not in (*known, *groups) and "train" in cfg:  # a study, of trainings
        return _topic_help(CommandLine("train", list(cfg.train)), topic)
    options = line.options(topic) if topic in groups else []
    if topic not in known and not options:
        group, *_ = topic.split(".")
        if others := options_with(topic, line):  # such as a key of data=custom
            return f"With {group}={others[0]}:\n\n{_topic_help(line.choosing(group, others[0]), topic)}"
        raise ValueError(f"--help {topic}: {unknown_key(topic, line)}")
    rows = [f"{topic} (choose with {topic}=OPTION)\n"] if options else []
    rows += [_row(f"  {option}", _header(line, topic, option)) for option in options]
    if topic in known:
        rows += [f"\nKeys of what is chosen now (change with {topic}.KEY=VALUE)\n"] if options else []
        parent, _, leaf = topic.rpartition(".")
        rows += _rows(OmegaConf.select(cfg, parent) if parent else cfg, texts, f"{parent}." if parent else "", leaf)
    return "\n".join(rows)


def _header(line: CommandLine, group: str, option: str) -> str:
    """The first comment of the file of an option."""
    *_, text = _files(line, group, [option])
    return next((row[2:] for row in text.splitlines() if row.startswith("# ") and "@package" not in row), "")


def _rows(node: Any, texts: dict[str, str], prefix: str = "", only: str = "", depth: int = 0) -> Iterator[str]:
    """Yield the lines of a config with their comments; what instantiates objects is left out."""
    for key in sorted(node, key=lambda key: not depth and OmegaConf.is_dict(node._get_node(key))):
        name, below = f"{prefix}{key}", node._get_node(key)
        if str(key).startswith("_") or (only and key != only):
            continue
        is_group = OmegaConf.is_dict(below) and not (below._is_interpolation() or below._is_missing())
        if is_group and not below._is_none() and len(below):
            rows = [*_rows(below, texts, f"{name}.", depth=depth + 1)]
            yield from [_row(f"{'  ' * depth}{key}:", texts.get(name, "")), *rows] if rows or name in texts else []
        else:
            yield _row(f"{'  ' * depth}{key}: {_value(node, str(key))}", texts.get(name, ""))


def _value(cfg: Any, key: str) -> str:
    """The value at a key as YAML in one line; a reference stays one."""
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    plain: Any = OmegaConf.to_container(node, resolve=False)
    value = plain[leaf]
    if isinstance(value, str) and ("${" in value or value == "???"):
        return value
    return str(yaml.safe_dump([value], default_flow_style=True, width=10**6, allow_unicode=True)).strip()[1:-1]


def _row(left: str, comment: str) -> str:
    """One setting and its comment beside it, or below where there is no room."""
    if not comment:
        return left
    column = max(30, len(left) + 2)
    if column > _WIDTH // 2:
        return f"{left}\n{_row(' ' * 28, comment)}"
    return _wrapped(f"{left:<{column}}# {comment}", f"{column * ' '}# ")


def _wrapped(text: str, indent: str) -> str:
    long: Any = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(text, _WIDTH, subsequent_indent=indent, **long)
