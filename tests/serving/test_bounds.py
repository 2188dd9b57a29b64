"""Hostile clients and images take neither the places of others nor more time and memory than is meant."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from serving.conftest import LIMITS, encoded

for library in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(library, reason="serving needs its libraries: pip install 'softpoint[serve]'")
import h11  # noqa: E402
import uvicorn  # noqa: E402
from fastapi import HTTPException  # noqa: E402

from softpoint.images.read_options import ReadOptions  # noqa: E402
from softpoint.serving.connections import Chunks, Limits, bounded  # noqa: E402
from softpoint.serving.decoders import Decoders, ProcessDecoder  # noqa: E402
from softpoint.serving.line import Line  # noqa: E402

OPTIONS = ReadOptions("apply", 10_000)


def image_line(**changes: int) -> Line:
    return Line(**{"size": 3, "pixels": 100, "max_pixels": 100, "decoders": 2} | changes)


def run_line(line: Line, sizes: list[int], finish: Callable[[dict], Awaitable[Any]]) -> dict[int, Any]:
    """Images of `sizes` stand in line, in this order; return what became of each by then, and release all."""

    async def whole() -> dict[int, Any]:
        outcome: dict[int, Any] = {}
        end = asyncio.Event()

        async def stand(size: int) -> None:
            try:
                async with line.place(size) as place:
                    outcome[size] = place
                    await end.wait()
            except HTTPException as error:
                outcome[size] = error.status_code

        tasks = []
        for size in sizes:
            tasks.append(asyncio.create_task(stand(size)))
            await asyncio.sleep(0)
        await finish(outcome)
        before = dict(outcome)
        end.set()
        await asyncio.gather(*tasks)
        assert (line.requests, line.used) == (0, 0)
        return before

    return asyncio.run(whole())


async def nothing(_: dict) -> None:
    await asyncio.sleep(0)


def test_a_full_line_refuses_the_largest_that_waits() -> None:
    line = image_line(decoders=1)
    outcome = run_line(line, [50, 60, 70, 10, 80], nothing)
    assert outcome.pop(50).decoding and outcome == {70: 503, 80: 503}  # 60 and 10 wait


def test_the_smallest_is_next_and_large_ones_leave_a_decoder() -> None:
    line = image_line(size=9)

    async def finish(outcome: dict) -> None:
        assert set(outcome) == {30, 20}  # 40 is large too, and one of two decoders is for others
        line.decoded(outcome[20])
        await asyncio.sleep(0)
        assert set(outcome) == {30, 20, 5}
        line.decoded(outcome[30])
        await asyncio.sleep(0)

    # 20 + 30 and 40 would be more than the three quarters of the room that large ones may fill.
    assert set(run_line(line, [30, 20, 40, 5], finish)) == {30, 20, 5}


def test_any_image_fits_in_an_empty_line() -> None:
    assert run_line(image_line(), [100], nothing)[100].decoding


def decoding(conversation: Callable[[Decoders], Awaitable[Any]], seconds: float = 60) -> Any:
    async def whole() -> Any:
        decoders = Decoders(OPTIONS, 1, seconds)
        await decoders.start()
        try:
            return await conversation(decoders)
        finally:
            decoders.stop()

    return asyncio.run(whole())


def test_a_process_decodes_refuses_and_is_replaced_when_it_is_late_or_ends() -> None:
    async def conversation(decoders: Decoders) -> list[Any]:
        outcome: list[Any] = []
        (process,) = decoders._running
        assert isinstance(process, ProcessDecoder)

        async def attempt(body: bytes) -> None:
            try:
                async with decoders.borrowed() as decoder:
                    outcome.append(await decoder.size(body))
                    outcome.append((await decoder.pixels())[-1, -1].tolist())
            except HTTPException as error:
                outcome.append((error.status_code, error.detail.split()[:4]))

        await attempt(encoded(5, 6))
        await attempt(encoded(5, 6)[:50])
        await attempt(b"text")
        process.process.send_signal(signal.SIGSTOP)
        decoders.seconds = 0.05
        await attempt(encoded(7, 8))
        decoders.seconds = 60
        assert process.process.returncode == -signal.SIGKILL
        (process,) = decoders._running
        os.kill(process.process.pid, signal.SIGKILL)  # type: ignore[attr-defined]
        await attempt(encoded(7, 8))
        return outcome

    late, ended = (422, ["the", "image", "was", "not"]), (422, ["the", "image", "ended", "the"])
    damaged = (422, ["the", "image", "cannot", "be"])
    assert decoding(conversation) == [(5, 6), [255, 0, 102], damaged, (415, ["the", "body", "is", "not"]), late, ended]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return
    while scope["path"] != "/early" and (await receive()).get("more_body"):
        pass
    body = bytes(32_000_000) if scope["path"] == "/large" else b"ok"
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


def connected(limits: Limits, conversation: Callable[[int], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        config = uvicorn.Config(app, http=bounded(limits), ws="none", lifespan="off", log_level="critical", port=0)
        server = uvicorn.Server(config)
        with contextlib.suppress(asyncio.CancelledError):
            task = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            try:
                return await conversation(server.servers[0].sockets[0].getsockname()[1])
            finally:
                server.should_exit = True
                await task

    return asyncio.run(whole())


HEADER = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [(b"", [408]), (HEADER[:20], [408]), (HEADER + b"123", []), (HEADER + b"12345" + HEADER[:20], [200, 408])],
)
def test_a_client_that_is_late_is_ended(sent: bytes, statuses: list[int]) -> None:
    async def conversation(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        try:
            return await reader.read()
        except ConnectionResetError:  # of a request that has begun
            return b""
        finally:
            writer.close()

    reply = connected(Limits(header_s=0.1, body_s=0.1), conversation)
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", reply)] == statuses


CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


def received(size: int, together: int, pause: float) -> int:
    """The number of chunks of a size of which a connection takes 5000, some together after each pause."""
    clock, taken = 0.0, 0
    connection = Chunks(Limits(free_chunks=500, chunk_bytes=128, chunks_per_s=100), lambda: clock)
    connection.receive_data(CHUNKED)
    connection.next_event()
    for _ in range(5000 // together):
        clock += pause
        connection.receive_data((b"%x\r\n" % size + bytes(size) + b"\r\n") * together)
        while connection.next_event() is not h11.NEED_DATA:
            taken += 1
    return taken


def test_small_chunks_are_taken_while_they_come_slowly() -> None:
    assert received(1, 1, 0.01) == received(20, 50, 0.5) == received(130, 1000, 0) == 5000
    for together in (1, 50, 1000):  # 128 bytes allow a chunk, and each has 6 with what is around it
        with pytest.raises(h11.RemoteProtocolError, match="small chunks"):
            received(1, together, 0.0001)


@pytest.mark.parametrize(("path", "statuses"), [(b"/", [400]), (b"/early", [200])])
def test_a_body_of_tiny_chunks_is_refused(path: bytes, statuses: list[int], caplog: pytest.LogCaptureFixture) -> None:
    async def conversation(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(CHUNKED.replace(b"/", path, 1))
        start = await reader.readuntil(b"ok") if path != b"/" else b""
        writer.write(b"1\r\na\r\n" * 3000)
        with contextlib.suppress(ConnectionResetError):  # what was not read of the body
            start += await reader.readuntil(b"length") if path == b"/" else b""
            start += await reader.read()
        writer.close()
        return start

    reply = connected(Limits(end_s=0.1), conversation)
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", reply)] == statuses
    assert (b"send larger ones" in reply) == (statuses == [400])
    assert not [record for record in caplog.records if record.exc_info]


def test_of_too_many_connections_the_one_that_waits_longest_ends() -> None:
    async def conversation(port: int) -> list[bytes]:
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        streams[0][1].write(HEADER[:20])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        first = await streams[0][0].read()
        writer.write(HEADER + b"12345")
        last = await reader.readuntil(b"ok")
        for _, other in [*streams, (reader, writer)]:
            other.close()
        return [first, last]

    first, last = connected(Limits(max_connections=2), conversation)
    assert first.startswith(b"HTTP/1.1 503") and last.startswith(b"HTTP/1.1 200")


def test_of_too_many_connections_one_ends_whose_client_takes_no_response() -> None:
    async def conversation(port: int) -> bytes:
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, writer in streams:
            writer.write(2 * b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEADER + b"12345")
        last = await reader.read(15)
        for _, other in [*streams, (reader, writer)]:
            other.close()
        return last

    assert connected(Limits(max_connections=2), conversation).startswith(b"HTTP/1.1 200")


def test_of_too_many_bytes_the_body_that_arrives_longest_is_given_up(talk: Any) -> None:
    async def conversation(client: Any, service: Any) -> list[int]:
        async def slow() -> Any:
            yield bytes(40_000)
            await asyncio.sleep(60)

        async def quick() -> Any:
            yield encoded(9, 9) + bytes(20_000)

        late = asyncio.create_task(client.post("/predict", content=slow()))
        while service.room.used < 40_000:
            await asyncio.sleep(0.001)
        response = await client.post("/predict", content=quick())
        return [(await late).status_code, response.status_code, service.room.used]

    assert talk(conversation, queue_bytes=50_000) == [408, 200, 0]


def test_the_limits_are_settings(talk: Any) -> None:
    from softpoint.serving.settings import Settings

    with pytest.raises(ValueError, match="queue_bytes=9 is less than max_bytes=50000"):
        Settings(**LIMITS | {"queue_bytes": 9})
    assert Settings(**LIMITS | {"decoders": None}).decoder_count in range(1, 9)
