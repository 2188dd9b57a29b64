"""Hosts of a training in several processes: this machine, or two network namespaces of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Host:
    """A machine, which has a name, an address, and a prefix for its commands."""

    address: str = "127.0.0.1"
    prefix: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)


def start(host: Host, words: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start Python on a host, with what it prints in a file."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")]
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths), **host.environment, **environment}
    command = [*host.prefix, sys.executable, *words]
    with log.open("w") as file:
        return subprocess.Popen(command, env={**os.environ, **own}, stdout=file, stderr=file, text=True)


@contextmanager
def two_hosts() -> Iterator[list[Host]]:
    """Yield two network namespaces that are joined by a cable."""
    names, commands = ("softpoint0", "softpoint1"), list[str]()
    for node, name in enumerate(names):
        commands.append(f"ip netns add {name}")
        if node:
            commands.append(f"ip link add veth0 netns {names[0]} type veth peer name veth1 netns {names[1]}")
    for node, name in enumerate(names):
        own = f"ip -n {name}"
        commands += [f"{own} addr add 10.77.0.{node + 1}/24 dev veth{node}", f"{own} link set veth{node} up"]
        commands.append(f"{own} link set lo up")
    try:
        for command in commands:
            subprocess.run(command.split(), check=True)
        yield [
            Host(f"10.77.0.{node + 1}", ("ip", "netns", "exec", name), {"GLOO_SOCKET_IFNAME": f"veth{node}"})
            for node, name in enumerate(names)
        ]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)
