"""Fetch pages from hosts that are not to be relied on, parse them, store them, until Ctrl-C.

    python docs/examples/pipeline.py --pages 60 --backend asyncio --grace 5 --store pages.sqlite

The first Ctrl-C starts nothing more, and gives the pages that have begun their grace; a second one stops
those, too. Whenever it comes, the report at the end says of each page whether it is stored, and if it is
not, why; and it agrees with the store. Started again, the program goes on with what is missing. The exit
status is 130 after Ctrl-C; else 0 when every page is stored, and 1 when one is not.
"""

import argparse
import signal
import sqlite3
import sys
from collections.abc import AsyncIterable, Iterable
from typing import Any

import anyio
import anyio.to_thread
import httpx
import stamina
from flaky_server import serving
from outcome import Error
from page_links import parse
from page_store import read_stored, store
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from creche import ConcurrentTaskRunner, Slot, State

HOSTS = ("host-a", "host-b", "host-c")


def make_runner(grace: float) -> ConcurrentTaskRunner:
    """Two pages of each host at once; a hundred begin in a second; sixteen wait, whatever the number."""
    return ConcurrentTaskRunner(max_pending=16, limits=dict.fromkeys(HOSTS, 2), rate=100, grace=grace)


async def run(runner: ConcurrentTaskRunner, pages: Iterable[str], file: str, seed: int) -> bool:
    """Fetch, parse and store the pages; gives whether Ctrl-C came."""
    scope = anyio.CancelScope()
    with anyio.open_signal_receiver(signal.SIGINT) as presses:
        async with (
            serving(HOSTS, seed) as hosts,
            httpx.AsyncClient() as client,  # outside the scope: calls use it until they have ended
            anyio.create_task_group() as beside,
        ):
            with scope:
                async with runner.start():
                    beside.start_soon(listen, presses, scope, runner)
                    for page in pages:
                        host, _, path = page.partition("/")
                        url = f"{hosts[host].url}/{path}"
                        slot = await runner.submit(page, carry, client, url, page, file, limits=[host])
                        slot.add_done_callback(tell)
            beside.cancel_scope.cancel()
    return scope.cancel_called


async def listen(
    presses: AsyncIterable[object], scope: anyio.CancelScope, runner: ConcurrentTaskRunner
) -> None:
    """Ctrl-C cancels the scope around the runner, which has grace; a second one cancels all calls."""
    async for _ in presses:
        if scope.cancel_called:
            runner.cancel_all("Ctrl-C came again")
        else:
            begun = runner.statistics().running
            print(f"Ctrl-C: {begun} pages that have begun may end; again, and they are stopped, too")
            scope.cancel()


async def carry(client: httpx.AsyncClient, url: str, page: str, file: str) -> None:
    """All that happens to a page, in one call: during the grace no other would start."""
    response = await fetch(client, url)
    links = parse(response.headers["Content-Type"], response.text)
    await anyio.to_thread.run_sync(store, file, page, response.text, links)


def is_passing(exc: Exception) -> bool:
    """Whether it may be better next time."""
    if isinstance(exc, httpx.HTTPStatusError):
        return exc.response.is_server_error
    return isinstance(exc, httpx.TransportError)


@stamina.retry(on=is_passing, attempts=4, wait_initial=0.05, wait_jitter=0.05)
async def fetch(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """Get a page, in four tries at most."""
    return (await client.get(url)).raise_for_status()


def tell(slot: Slot[Any]) -> None:
    """Show how a page has ended; those that were cancelled are in the report, with the rest."""
    if slot.state is not State.CANCELLED:
        print(f"  {slot.key}: {describe(slot)}")


def tell_retry(details: RetryDetails) -> None:
    """Show that a page is tried again."""
    error = type(details.caused_by).__name__
    print(f"  {details.args[1]}: {error}, again in {details.wait_for:.2f} s")


def describe(slot: Slot[Any] | None) -> str:
    """How a page has ended."""
    if slot is None:
        return "it was never submitted"
    if slot.state is State.CANCELLED:
        return f"CANCELLED ({slot.origin}), {slot.reason}"
    outcome = slot.outcome
    return f"FAILED, {first_line(outcome.error)}" if isinstance(outcome, Error) else slot.state.name


def first_line(exc: BaseException) -> str:
    """An exception in one line."""
    return f"{type(exc).__name__}: {exc}".partition("\n")[0]


def report(runner: ConcurrentTaskRunner, pages: list[str], file: str) -> int:
    """Say which pages the store has, and why it has not the others; gives how many it has not."""
    stored = read_stored(file)
    for page in pages:
        print(page, "stored" if page in stored else f"not stored: {describe(runner.slots.get(page))}")
    missing = len(set(pages) - stored)
    print(f"{len(pages) - missing} of {len(pages)} pages are in {file}")
    return missing


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pages", type=int, default=60, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the hosts' troubles")
    parser.add_argument("--backend", choices=["trio", "asyncio"], default="trio")
    parser.add_argument("--grace", type=float, default=5, metavar="S", help="in seconds")
    parser.add_argument("--store", default="pages.sqlite", metavar="FILE")
    given = parser.parse_args()
    pages = [f"{HOSTS[n % len(HOSTS)]}/{n}" for n in range(given.pages)]
    try:
        runner = make_runner(given.grace)
        stored = read_stored(given.store)
    except (ValueError, sqlite3.Error) as exc:
        parser.error(str(exc))
    set_on_retry_hooks([tell_retry])
    missing = [page for page in pages if page not in stored]
    interrupted = True
    try:
        interrupted = anyio.run(run, runner, missing, given.store, given.seed, backend=given.backend)
    except* KeyboardInterrupt:
        pass  # nobody listened yet, or any more
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the report is short, and is to be whole
        left = report(runner, pages, given.store)
    return 130 if interrupted else int(left > 0)


if __name__ == "__main__":
    sys.exit(main())
