"""HTTP hosts that are not to be relied on, each on a port of its own, on this machine only.

What pipeline.py fetches from. A path is a number; its page is HTML or JSON, and links to two others. But
a request may be answered with 500 or 503, or late, or be cut off in the middle of the page. Which
request of a path meets with which of these depends on the seed, the host and the path, and on nothing
else: a path has up to three troubles and is well after that, unless it is broken for good.
"""

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Literal, get_args

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

Trouble = Literal["500", "503", "late", "cut"]

BROKEN = 0.03  # how many of the paths are so for good
REASONS = {"200": "OK", "500": "Internal Server Error", "503": "Service Unavailable"}


class Host:
    """One of them, and what it has seen: how often each path was asked for, and how many at once."""

    def __init__(self, name: str, seed: int, late: float) -> None:
        self.asked: Counter[str] = Counter()
        self.inside = 0
        self.most = 0
        self.url = ""
        self._name = name
        self._seed = seed
        self._late = late

    def troubles(self, path: str) -> list[Trouble] | None:
        """What the first requests of a path meet with; `None` if it is broken."""
        draw = random.Random(f"{self._seed} {self._name}{path}")  # noqa: S311 - luck, not a secret
        if draw.random() < BROKEN:
            return None
        return draw.choices(get_args(Trouble), k=max(0, draw.randrange(7) - 3))

    async def answer(self, stream: SocketStream) -> None:
        """Answer one request, and close the connection."""
        gone = (anyio.BrokenResourceError, anyio.IncompleteRead, anyio.EndOfStream)
        with suppress(*gone):  # who asks may go at any time
            async with stream:
                head = await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", 2**16)
                path = head.split(b" ", 2)[1].decode()
                troubles = self.troubles(path)
                tried = self.asked[path]
                self.asked[path] += 1
                trouble = "500" if troubles is None else (*troubles, *[None] * (tried + 1))[tried]
                self.inside += 1
                self.most = max(self.most, self.inside)
                try:
                    await anyio.sleep(self._late if trouble == "late" else 0.01)
                finally:
                    self.inside -= 1  # before the other side can know
                await stream.send(respond(path, trouble))


def respond(path: str, trouble: Trouble | None) -> bytes:
    """The response to a request for a path."""
    status = trouble if trouble in REASONS else "200"
    kind, body = page_of(path) if status == "200" else ("text/plain", b"not now")
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nConnection: close\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + (body[: len(body) // 2] if trouble == "cut" else body)


def page_of(path: str) -> tuple[str, bytes]:
    """The type of a page, and the page."""
    number = int(path.strip("/"))
    links = [f"/{number + 1}", f"/{number * 2}"]
    if number % 2:
        return "application/json", json.dumps({"title": f"Page {number}", "links": links}).encode()
    anchors = "".join(f'<li><a href="{link}">see also</a>' for link in links)
    return "text/html", f"<!doctype html><title>Page {number}</title><ul>{anchors}</ul>".encode()


@asynccontextmanager
async def serving(names: Iterable[str], seed: int, late: float = 0.5) -> AsyncIterator[dict[str, Host]]:
    """Start hosts, and stop them at the end; `late` is in seconds."""
    hosts = {name: Host(name, seed, late) for name in names}
    async with AsyncExitStack() as listeners, anyio.create_task_group() as group:
        for host in hosts.values():
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
            await listeners.enter_async_context(listener)
            port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
            host.url = f"http://127.0.0.1:{port}"
            group.start_soon(listener.serve, host.answer)
        yield hosts
        group.cancel_scope.cancel()
