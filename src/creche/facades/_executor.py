"""An executor for code that knows `concurrent.futures` and nothing of creche; what it runs are calls.

What it is for: `AdaptableTaskRunner.as_executor`.

What it does not know: how calls are carried out. It submits to the run, as a runner does.

Invariant: `submit` never blocks, in whichever thread; what it has accepted ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, ParamSpec, TypeVar, final

from creche._afar import context_of_submitter
from creche._bell import Bell
from creche._call import Call, is_async_callable, name_of, read_call
from creche._hosting import Run
from creche._lending import IN_THREAD
from creche._place import Place
from creche._portal import Errand
from creche._slot import Slot
from creche._spelling import spell
from creche._submitting import begin_under, wish
from creche._waiting_room import Applicant

from ._future import CANCELLED, CallFuture

P = ParamSpec("P")
T = TypeVar("T")


@final
class RunnerExecutor(Executor):
    """A `concurrent.futures.Executor` of a runner; see `ConcurrentTaskRunner.as_executor`."""

    def __init__(
        self,
        run: Any,  # noqa: ANN401 - a Run, which is private
        name: str | None,
    ) -> None:
        self._run: Run = run
        self._name = name
        self._lock = threading.Lock()
        self._is_shut = False
        # What has not ended, by what is submitted of it. Ended futures are the user's alone.
        self._open: dict[CallFuture[Any], None] = {}
        self._idle = Bell(self._is_idle)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> CallFuture[T]:
        """Submit a call, async or plain, without waiting, also on the thread of an event loop.

        Where the runner has `max_pending`, it is the call that waits for room, and not this.

        Args:
            fn: what to call, in a copy of the context variables here.
            *args: its positional arguments.
            **kwargs: its keyword arguments.

        Returns:
            its future.

        Raises:
            RunnerClosed: the runner has closed, or is closing.
            RuntimeError: the executor was shut down.
            TypeError: `fn` is not callable.
        """
        title = self._name or name_of(fn)
        run = self._run
        run.intake.check_open(title)
        read_call(fn, ())
        future = CallFuture[T](run, partial(fn, *args, **kwargs))
        context = context_of_submitter()
        body: Callable[[], Any] = future.call_async if is_async_callable(fn) else future.call
        if isinstance(run.place, Place):  # where nothing is known of the future
            body = partial(fn, *args, **kwargs)
        call = context.run(read_call, body, ())
        with self._lock:
            if self._is_shut:
                msg = (
                    "cannot schedule new futures after shutdown; the runner goes on: "
                    "runner.as_executor() gives another executor"
                )
                raise RuntimeError(msg)
            self._open[future] = None
        check_in = partial(context.run, partial(self._check_in, title, call, future))
        try:
            if run.home.is_elsewhere:
                self._send(check_in, future)
            else:
                check_in()
        except BaseException:
            self._forget(future)
            raise
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the standard library's signature
        """Take no more calls; the runner goes on.

        Args:
            wait: until every call has ended. It blocks, in a thread without a loop.
            cancel_futures: cancel the calls that wait for a place; from another thread than that of the
                runner's loop, as soon as that is free.

        Raises:
            RuntimeError: it would wait, and this thread runs an event loop, or a call of this executor.
        """
        with self._lock:
            self._is_shut = True
            left = list(self._open)
        if cancel_futures:
            self._run.home.hand_over(self._cancel_queued)
        if not wait or self._is_idle():
            return
        if self._run.home.in_loop():
            msg = (
                "shutdown(wait=True) waits for the calls of this executor, and this thread runs an "
                "event loop, which would stand still; await them first, or shutdown(wait=False)"
            )
            raise RuntimeError(msg)
        caller = IN_THREAD.get()
        if caller is not None and any(future.slot is caller[0] for future in left):
            msg = (
                f"call {spell(caller[0].key)} would wait for itself: shutdown(wait=False) inside a call"
            )
            raise RuntimeError(msg)
        self._run.home.block(self._idle, None)

    def _send(self, check_in: Callable[[], object], future: CallFuture[Any]) -> None:
        errand = self._run.home.portal.send(check_in)
        answered = partial(self._answered, errand, future)
        if not errand.enroll(answered):
            answered()

    def _answered(self, errand: Errand, future: CallFuture[Any]) -> None:
        try:
            errand.result()
        except BaseException as exc:  # noqa: BLE001 - raised where the future is read
            try:
                future.refuse(exc)
            finally:
                self._forget(future)

    def _check_in(self, title: str, call: Call, future: CallFuture[Any]) -> None:
        """On the thread of the home loop."""
        if future.cancelled():
            self._forget(future)
            return
        if self._run.has_wishes:
            wish(self._run, title, call)
        begun = begin_under(self._run, title, call)
        if isinstance(begun, Slot):
            self._attach(future, begun)
            return
        future.when_given_up = partial(self._forget, future)
        future.applicant = begun
        begun.enroll(partial(self._admitted, begun, future))

    def _admitted(self, applicant: Applicant, future: CallFuture[Any]) -> None:
        """There is room for the call; or the runner takes no more."""
        try:
            slot = applicant.answer()
        except BaseException as exc:  # noqa: BLE001 - raised where the future is read
            try:
                future.refuse(exc)
            finally:
                self._forget(future)
        else:
            self._attach(future, slot)

    def _attach(self, future: CallFuture[Any], slot: Slot[Any]) -> None:
        future.slot = slot
        if future.cancelled():  # by an instrument that was told of it
            self._run.cancel(slot, "cancel", CANCELLED)
        slot.add_done_callback(partial(self._ended, future))

    def _ended(self, future: CallFuture[Any], slot: Any) -> None:  # noqa: ANN401 - a slot of whatever
        try:
            future.end(slot)
        finally:
            self._forget(future)

    def _cancel_queued(self) -> None:
        """On the thread of the home loop; what was submitted before has got its place, if any."""
        for future in list(self._open):
            if future.is_queued():
                future.cancel()

    def _forget(self, future: CallFuture[Any]) -> None:
        with self._lock:
            self._open.pop(future, None)
        if self._is_idle():
            self._idle.ring()

    def _is_idle(self) -> bool:
        return not self._open
