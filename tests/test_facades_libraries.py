"""Libraries that know nothing of creche, handed a task group of it, or used inside its calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Executor, as_completed
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
import stamina
from aioresult import ResultCapture
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskStatus
from anyio.streams.stapled import MultiListener

from calls import error_of, give, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, State

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


class Server:
    """A small HTTP server, each of whose connections is a child of a task group that it is handed.

    ``/slow`` never answers; ``/flaky/n`` answers with 503 for n times, and then as all other paths do,
    with the path.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.inside = 0
        self.most = 0
        self.url = ""
        self.is_asked_slow = anyio.Event()

    async def serve(self, *, task_status: TaskStatus[str]) -> None:
        """Accept connections, in a task group of its own, until cancelled."""
        listeners = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listeners, anyio.create_task_group() as group:
            task_status.started(f"http://127.0.0.1:{port_of(listeners)}")
            await listeners.serve(self.answer, group)

    async def answer(self, stream: ByteStream) -> None:
        """Answer one request, and close."""
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive()
            path = request.split(b" ", 2)[1].decode()
            self.asked.append(path)
            self.inside += 1
            self.most = max(self.most, self.inside)
            try:
                if path == "/slow":
                    self.is_asked_slow.set()
                    await anyio.sleep_forever()
                await anyio.sleep(0.01)
            finally:
                self.inside -= 1
            _, _, times = path.rpartition("/flaky/")
            is_down = times.isdecimal() and self.asked.count(path) <= int(times)
            status = "503 Down" if is_down else "200 OK"
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(path)}\r\nConnection: close\r\n\r\n"
            await stream.send(head.encode() + path.encode())


def port_of(listener: MultiListener[SocketStream]) -> int:
    """Where it listens."""
    return listener.extra(SocketAttribute.local_port)  # noqa: S610 - nothing of Django's


@asynccontextmanager
async def a_server() -> AsyncIterator[Server]:
    """A server, and its end."""
    server = Server()
    async with anyio.create_task_group() as group:
        server.url = await group.start(server.serve)
        yield server
        group.cancel_scope.cancel()


async def ask(port: int, text: bytes) -> bytes:
    """Send a text over TCP, and read what comes back."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(text)
        return await stream.receive()


async def echo(stream: ByteStream) -> None:
    """Send back what comes, until the other side closes."""
    async with stream:
        async for chunk in stream:
            await stream.send(chunk.upper())


# Handed a task group -------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [True, False])
async def test_a_listener(block: bool) -> None:
    """Anyio's own `serve` starts a child for each connection: each is a call."""
    async with (
        ConcurrentTaskRunner().start() as runner,
        anyio.create_task_group() as others,
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
    ):
        port = port_of(listener)
        group = runner.as_task_group()
        if block:
            async with group:
                group.start_soon(listener.serve, echo, group, name="serve")
                assert await ask(port, b"a") == b"A"
                assert await runner.map(partial(ask, port), [b"b", b"c"]) == [b"B", b"C"]
                group.cancel_scope.cancel()
        else:
            others.start_soon(listener.serve, echo, group, name="serve")
            assert await ask(port, b"a") == b"A"
            assert await runner.map(partial(ask, port), [b"b", b"c"]) == [b"B", b"C"]
            others.cancel_scope.cancel()
        await runner.until_idle()
    connections = {key: slot for key, slot in runner.slots.items() if "echo" in str(key)}
    assert len(connections) == 3
    assert {slot.state for slot in connections.values()} <= {State.COMPLETED, State.CANCELLED}


async def test_a_handler_that_fails() -> None:
    """It ends the listener, the block and the other connections, and not the runner."""

    async def refuse(stream: ByteStream) -> None:
        async with stream:
            raise LookupError(await stream.receive())

    async with (
        ConcurrentTaskRunner(on_error="cancel").start() as runner,
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
    ):
        port = port_of(listener)
        with pytest.raises(ExceptionGroup) as caught:
            async with runner.as_task_group() as group:
                group.start_soon(listener.serve, refuse, group, name="serve")
                async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                    await stream.send(b"x")
                    await anyio.sleep_forever()
        assert [type(error) for error in caught.value.exceptions] == [LookupError]
        assert runner.slots["serve"].origin == "cancel"
        assert await runner.submit_nowait("more", give, 1) == 1


async def test_a_server_that_is_started() -> None:
    """`start` gives its address; stopping it is cancelling its key."""
    server = Server()
    async with ConcurrentTaskRunner().start() as runner, runner.as_task_group() as group:
        server.url = await group.start(server.serve, name="server")
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{server.url}/a")).text == "/a"
        runner.cancel("server")
    assert server.asked == ["/a"]


async def test_results_that_are_captured() -> None:
    """Aioresult takes any nursery or task group."""
    async with ConcurrentTaskRunner().start() as runner:
        async with runner.as_task_group() as group:
            captures = [ResultCapture.start_soon(group, give, n) for n in range(3)]
        assert [capture.result() for capture in captures] == [0, 1, 2]
        assert len(runner.slots) == 3


# Handed an executor --------------------------------------------------------------------------------


def fetch_all(executor: Executor, url: str, paths: list[str]) -> dict[str, str]:
    """What a library does that works in threads."""
    with httpx.Client(base_url=url, timeout=30) as client:
        futures = {executor.submit(client.get, path): path for path in paths}
        return {futures[future]: future.result().text for future in as_completed(futures)}


async def test_a_library_that_takes_an_executor() -> None:
    """Its requests are calls, never more at once than the runner allows."""
    paths = [f"/{n}" for n in range(10)]
    async with a_server() as server, ConcurrentTaskRunner(max_workers=3).start() as runner:
        executor = runner.as_executor(name="page")
        pages = await anyio.to_thread.run_sync(fetch_all, executor, server.url, paths)
        assert pages == {path: path for path in paths}
        assert len(runner.slots) == 10
        assert next(iter(runner.slots)) == "page"
    assert server.most <= 3


# Inside calls --------------------------------------------------------------------------------------


async def test_httpx_inside_calls() -> None:
    """By its transport for trio, and the one for asyncio; never more at once than the runner allows."""
    async with (
        a_server() as server,
        ConcurrentTaskRunner(max_workers=3).start() as runner,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        answers = await runner.map(client.get, [f"/{n}" for n in range(10)])
        assert [answer.text for answer in answers] == [f"/{n}" for n in range(10)]
        async with runner.as_task_group() as group:
            handles = [group.start_soon(client.get, f"/more/{n}") for n in range(4)]
        assert [handle.return_value.text for handle in handles] == [f"/more/{n}" for n in range(4)]
    assert server.most <= 3
    assert len(server.asked) == 14


async def test_a_request_that_is_cancelled() -> None:
    """By key, by a time limit, by its group; the client goes on working."""
    async with (
        a_server() as server,
        ConcurrentTaskRunner().start() as runner,
        httpx.AsyncClient(base_url=server.url, limits=httpx.Limits(max_connections=1)) as client,
    ):
        runner.submit_nowait("by key", client.get, "/slow")
        await server.is_asked_slow.wait()
        runner.cancel("by key")
        assert isinstance(error_of(await runner.wait("by key")), CallCancelled)
        runner.submit_nowait("by time", client.get, "/slow", timeout=0.05)
        assert isinstance(error_of(await runner.wait("by time")), TimeoutError)
        async with runner.as_task_group() as group:
            group.start_soon(client.get, "/slow", name="by group")
            group.cancel_scope.deadline = anyio.current_time() + 0.05
        assert runner.slots["by group"].origin == "cancel"
        assert (await runner.submit_nowait("good", client.get, "/good")).text == "/good"


async def test_httpx_fails_inside_a_call() -> None:
    """With its own error."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        url = f"http://127.0.0.1:{port_of(listener)}"
    async with ConcurrentTaskRunner().start() as runner, httpx.AsyncClient() as client:
        slot = runner.submit_nowait("refused", client.get, url)
        assert isinstance(error_of(await runner.wait(slot)), httpx.ConnectError)


async def test_stamina_inside_calls() -> None:
    """Its retries are the call's own affair: one slot, one outcome."""
    async with (
        a_server() as server,
        ConcurrentTaskRunner().start() as runner,
        httpx.AsyncClient(base_url=server.url) as client,
    ):

        @stamina.retry(on=httpx.HTTPStatusError, attempts=3, wait_initial=0.001, wait_jitter=0)
        async def fetch(path: str) -> str:
            answer = await client.get(path)
            answer.raise_for_status()
            return answer.text

        for path in ("/flaky/2", "/flaky/9"):
            runner.submit_nowait(path, fetch, path)
        assert await runner.result("/flaky/2") == "/flaky/2"
        assert isinstance(error_of(await runner.wait("/flaky/9")), httpx.HTTPStatusError)
    assert [server.asked.count(path) for path in ("/flaky/2", "/flaky/9")] == [3, 3]


async def test_a_retry_that_is_cancelled() -> None:
    """While it waits for the next attempt: there is none."""
    attempts: list[int] = []

    @stamina.retry(on=OSError, attempts=None, timeout=None, wait_initial=60, wait_max=60, wait_jitter=0)
    async def fail_on() -> None:
        attempts.append(1)
        raise OSError

    async with ConcurrentTaskRunner().start() as runner:
        runner.submit_nowait("k", fail_on)
        await settle_down()
        runner.cancel("k", "enough")
        assert str(error_of(await runner.wait("k"))).endswith("enough")
    assert attempts == [1]


async def test_threads_of_anyio_inside_calls() -> None:
    """With a limiter of the caller's, which the runner knows nothing of."""
    limiter = anyio.CapacityLimiter(2)
    borrowed: list[float] = []

    def work(n: int) -> int:
        borrowed.append(limiter.borrowed_tokens)
        return n * n

    async def in_thread(n: int) -> int:
        return await anyio.to_thread.run_sync(work, n, limiter=limiter)

    async with ConcurrentTaskRunner().start() as runner:
        assert await runner.map(in_thread, range(20)) == [n * n for n in range(20)]
        async with runner.as_task_group() as group:
            handles: list[Any] = [group.start_soon(in_thread, n) for n in range(5)]
        assert [handle.return_value for handle in handles] == [0, 1, 4, 9, 16]
    assert len(borrowed) == 25
    assert max(borrowed) <= 2
    assert limiter.borrowed_tokens == 0
