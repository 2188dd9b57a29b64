"""A page that gives its own name to this machine reads nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="serving needs its libraries: pip install 'softpoint[serve]'")
from softpoint.serving.names import OwnNames


def status(host: str) -> int:
    """The status of an answer where the server itself answers 200."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any: ...

    async def app(*_: Any) -> None:
        await send({"status": 200})

    scope = {"type": "http", "headers": [(b"host", host.encode())]}
    asyncio.run(OwnNames(app)(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "10.0.0.1"])
def test_a_server_of_this_machine_has_no_other_name(host: str):
    assert status(host) == 421


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "localhost:1", "[::1]:7860"])
def test_it_answers_to_each_of_its_own_names(host: str):
    assert status(host) == 200
