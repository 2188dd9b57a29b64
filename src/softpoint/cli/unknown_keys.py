"""The key that was meant by one that a command does not have."""

from __future__ import annotations

from omegaconf import OmegaConf

from softpoint.cli.command_line import MISTAKES, CommandLine, config_nodes, groups_of, is_public, public_keys
from softpoint.renamed_keys import advice
from softpoint.suggest import choose_from, nearest


def unknown_key(key: str, line: CommandLine) -> str:
    """Name the nearest key of the config as the rest of the command line composes it, or the option that has it."""
    if message := advice(key):
        return message
    parent, _, leaf = key.rpartition(".")
    group, _, below = key.partition(".")
    if options := options_with(key, line):
        return f"unknown key {key!r}; {group}={' or '.join(options)} has it"
    try:
        config = line.visible(without=[key])
    except MISTAKES:
        return f"unknown key {key!r}, and not the only mistake: correct it first"
    keys = [*public_keys(config), *(groups := groups_of(config))]
    owners = {name: options for choice in groups for name, options in _owners(choice, line).items()}
    tops = [name for name in dict.fromkeys(keys) if "." not in name]
    near = [name for name in (*keys, *owners) if name.rpartition(".")[2] == leaf][:1]
    if not near and below and group not in tops:
        near = [name for top in nearest(group, tops) if (name := f"{top}.{below}") in (*keys, *owners)]
    elif not near:  # the keys beside it, with this option or another one of the group
        beside = [name for name in (*keys, *owners) if name.rpartition(".")[0] == parent]
        tops = [*dict.fromkeys(name.rpartition(".")[2] for name in beside)] or tops
        near = [f"{parent}.{name}".lstrip(".") for name in nearest(leaf, tops)]
    if not near:
        return f"unknown key {key!r}; {choose_from(tops)}"
    options = [] if near[0] in keys else owners.get(near[0], [])
    note = f" It comes with {near[0].partition('.')[0]}={' or '.join(options)}." if options else ""
    return f"unknown key {key!r}; did you mean {near[0]!r}?{note}"


def options_with(key: str, line: CommandLine) -> list[str]:
    """The options that have a key, of its group if the command chooses from that."""
    group = key.partition(".")[0]
    return _owners(group, line).get(key, []) if group in groups_of(line.bare.visible()) else []


def _owners(group: str, line: CommandLine) -> dict[str, list[str]]:
    """The options of a group that have a key below it, by key; of a key without a value, the one that asks for it."""
    owners: dict[str, list[str]] = {}
    asking: dict[str, list[str]] = {}
    for folder in line.folders:
        for path in sorted((folder / group).glob("*.yaml")):
            prefix = "" if path.read_text(encoding="utf-8").startswith("# @package _global_") else f"{group}."
            for key, node in config_nodes(OmegaConf.load(path), prefix):
                if key.startswith(f"{group}.") and key != f"{group}.defaults" and is_public(key):
                    owners.setdefault(key, []).append(path.stem)
                    asking |= {key: [path.stem]} if node._is_missing() else {}
    return owners | asking
