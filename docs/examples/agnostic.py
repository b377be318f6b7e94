"""A library of two functions that are handed a runner, and never learn which loop they run on.

    python docs/examples/agnostic.py

They ask servers that understand one thing: a line comes in, a line goes out. The runner is the caller's,
who opens it, bounds it, shares it with whom it likes, and closes it. What the library owes for that:
keys that are nobody else's, and nothing left on the board but what the caller asked for.

The program at the end starts servers that know characters by their names, and compares what the two
functions give under trio and under asyncio.
"""

import sys
import unicodedata
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from outcome import Error, Outcome

from creche import ConcurrentTaskRunner, RunnerClosed, SequentialTaskRunner, Slot, State

Runner = ConcurrentTaskRunner | SequentialTaskRunner
Address = tuple[str, int]


async def fetch_all(
    runner: Runner, address: Address, questions: Iterable[str], *, timeout: float | None = None
) -> dict[str, Outcome[str]]:
    """Ask each question once, whoever else asks it of the same runner, at the same time or before.

    An answer stays on the runner's board for the next who asks; a failure does not. Cancelled, this
    leaves its calls alone: somebody else may have joined them.

    Args:
        runner: what to run the calls on.
        address: whom to ask.
        questions: what to ask.
        timeout: how many seconds a call may take.

    Returns:
        by question, the answer or the error.
    """
    slots: dict[str, Slot[str]] = {}
    for question in questions:
        key = ("agnostic", address, question)
        slot = await runner.submit(key, ask, address, question, on_collision="join", timeout=timeout)
        slot.add_done_callback(partial(drop, runner, keep=State.COMPLETED))
        slots[question] = slot
    for slot in slots.values():
        await runner.wait(slot)
    return {question: slot.outcome for question, slot in slots.items()}


async def first_to_answer(
    runner: Runner, addresses: Iterable[Address], question: str, *, patience: float = 0.25
) -> str:
    """Ask one address after the other until one answers: the next when one has failed, or is slow.

    However this ends, all of its calls have ended then, and have left the board.

    Args:
        runner: what to run the calls on.
        addresses: whom to ask, the preferred one first.
        question: what to ask.
        patience: how many seconds to wait for one before the next is asked, too.

    Returns:
        the first answer.

    Raises:
        ExceptionGroup: nobody has answered; with the error of each.
        ValueError: there is no address.
    """
    async with runner.group(stop_when="first_success") as group:
        for address in addresses:
            try:
                slot = await group.submit(None, ask, address, question)
            except RunnerClosed:
                if group.stopped_by is None:
                    raise
                break  # somebody has answered, perhaps while this waited for room
            slot.add_done_callback(partial(drop, runner))
            await runner.wait(slot, timeout=patience)
    if not group.slots:
        raise ValueError("first_to_answer needs at least one address")
    if group.stopped_by is None:
        outcomes = [slot.outcome for slot in group.slots.values()]
        errors = [outcome.error for outcome in outcomes if isinstance(outcome, Error)]
        raise BaseExceptionGroup(f"nobody has answered {question!r}", errors)
    answer: str = group.stopped_by.result()
    return answer


def drop(runner: Runner, slot: Slot[str], keep: State | None = None) -> None:
    """Take a settled call off the board, if it is still there, unless it ended in a state to keep."""
    if slot.state is not keep and runner.slots.get(slot.key) is slot:
        runner.forget(slot)


async def ask(address: Address, question: str) -> str:
    """Send a line to a server, and give the line that it sends back."""
    async with await anyio.connect_tcp(*address) as stream:
        await stream.send(f"{question}\n".encode())
        answer = await read_line(stream)
    if answer.startswith("error: "):
        raise LookupError(answer.removeprefix("error: "))
    return answer


async def read_line(stream: SocketStream) -> str:
    """A line from a connection, without its end."""
    return (await BufferedByteReceiveStream(stream).receive_until(b"\n", 4096)).decode()


# The program --------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(seconds: float) -> AsyncIterator[tuple[Address, list[str]]]:
    """A server that takes its time; gives its address, and a list of what it is asked."""
    asked: list[str] = []

    async def answer(stream: SocketStream) -> None:
        with suppress(anyio.BrokenResourceError, anyio.IncompleteRead):  # who asks may go at any time
            async with stream:
                name = await read_line(stream)
                asked.append(name)
                await anyio.sleep(seconds)
                try:
                    text = f"U+{ord(unicodedata.lookup(name)):04X}"
                except KeyError as exc:
                    text = f"error: {exc.args[0]}"
                await stream.send(f"{text}\n".encode())

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
        yield ("127.0.0.1", port), asked
        group.cancel_scope.cancel()


async def main() -> list[str]:
    """Use both functions; what they gave, in lines."""
    async with serving(0) as (gone, _):
        pass  # nobody is there any more
    async with (
        serving(0) as (near, asked),
        serving(3600) as (far, _),
        ConcurrentTaskRunner(max_workers=4).start() as runner,
    ):
        outcomes = await fetch_all(runner, near, ["SNOWMAN", "COMET", "SNOWMAN", "NO SUCH THING"])
        outcomes |= await fetch_all(runner, near, ["COMET", "ANCHOR"])  # one of them is known
        first = await first_to_answer(runner, [gone, far, near], "BLACK STAR", patience=0.1)
        return [
            *(f"{question}: {outcome}" for question, outcome in outcomes.items()),
            f"the first answer: {first}",
            f"asked: {', '.join(sorted(asked))}",
            f"left on the board: {len(runner.slots)} answers",
        ]


if __name__ == "__main__":
    on_trio, on_asyncio = (anyio.run(main, backend=backend) for backend in ("trio", "asyncio"))
    print(*on_trio, sep="\n")
    print("the same on asyncio" if on_trio == on_asyncio else f"on asyncio: {on_asyncio}")
    sys.exit(on_trio != on_asyncio)
