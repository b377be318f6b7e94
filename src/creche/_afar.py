"""Submitting from another thread than the one of the runner's loop.

What it is for: a task of another loop, or a thread without one, hands its submission over. It is judged
on the thread of the runner's loop, as one that is made there; what it gives or raises comes back. One
that has to wait has its turn from then on, and goes on in a task of the run.

What it does not know: what a submission is to a runner, or how it waits.

Invariant: a submission that was handed over is answered: by a slot, by what it raised, or by
`RunnerClosed`; unless its submitter was cancelled before it was judged: then it is not made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import Any, cast, final

from outcome import Error, Outcome, Value

from ._backend import Backend, Scope
from ._backends import context_for_elsewhere
from ._errors import RunnerClosed
from ._hosting import Run
from ._lending import IN_THREAD, SUBMITTER
from ._news import FromAfar
from ._portal import Errand
from ._slot import Slot
from ._submitting import give_up
from ._waiting_room import Applicant


def context_of_submitter() -> Context:
    """The context variables of a submitter in another thread, without what tells where that one runs."""
    context = context_for_elsewhere()
    of_thread = IN_THREAD.get()
    told = None if of_thread is None else of_thread[1][0].told
    context.run(SUBMITTER.set, (told, None))
    context.run(IN_THREAD.set, None)
    return context


@final
class Submission:
    """One submission, made in the context of the submitter, without what tells where that one runs."""

    def __init__(
        self,
        run: Run,
        attempt: Callable[[], Slot[Any] | Applicant | None],
        whole: Callable[[Applicant | None], Awaitable[Slot[Any]]],
    ) -> None:
        """Prepare it; in the submitter's thread.

        Args:
            run: to which.
            attempt: makes it at once, on the thread of the run's loop; gives an applicant if there is no
                room, `None` if it has to wait for something else.
            whole: goes on with what that gave, in a task of the run's loop.
        """
        self._run = run
        self._attempt = attempt
        self._whole = whole
        self._applicant: Applicant | None = None
        self._context = context_of_submitter()
        self._scope: Scope | None = None

    async def from_loop(self) -> Slot[Any]:
        """Make it, and wait for its slot, in a task of another loop. A checkpoint.

        Cancelled before it was judged, it is not made. Cancelled after that, it gives the slot, and the
        cancellation shows at the next checkpoint; unless it came by asyncio's own `Task.cancel`.
        """
        home = self._run.home
        backend = home.anywhere()
        await backend.checkpoint_if_cancelled()
        errand = home.portal.send(self._begin)
        await self._wait(backend, errand, backend.park)
        found = errand.result()
        if isinstance(found, Errand):
            await self._wait(backend, found, lambda place: home.park(backend, place))
            found = found.result()
        return cast("Slot[Any]", found)

    def from_thread(self) -> Slot[Any]:
        """Make it, and block this thread, which runs no loop, until there is a slot."""
        home = self._run.home
        found = home.portal.ask(self._begin)
        if isinstance(found, Errand):
            try:
                home.block(found, None)
                found = found.result()
            except BaseException:
                found.take_back()  # of no effect, unless by Ctrl-C
                raise
        return found

    @staticmethod
    async def _wait(
        backend: Backend,
        errand: Errand,
        park: Callable[[FromAfar], Awaitable[None]],
    ) -> None:
        post = backend.poster()
        try:
            with FromAfar(errand, post) as place:
                await park(place)
        except BaseException as exc:
            late = isinstance(exc, backend.cancelled) and backend.is_cut()
            if errand.take_back() or not late:
                raise
            # It is being judged just now, or the answer is under way: this is no long wait.
            with backend.open_scope(shield=True), FromAfar(errand, post) as place:
                await backend.park(place)

    def _begin(self) -> Slot[Any] | Errand:
        """On the thread of the run's loop: the slot, or what will give it."""
        return self._context.run(self._judge)

    def _judge(self) -> Slot[Any] | Errand:
        begun = self._attempt()
        if isinstance(begun, Slot):
            return begun
        self._run.intake.check(None)
        self._applicant = begun
        errand = self._run.home.portal.open()
        errand.when_taken_back = partial(self._run.hand_over, self._give_up)
        self._run.start_soon(self._context.copy(), self._go_on, errand, "creche submission")
        return errand

    def _give_up(self) -> None:
        """On the thread of the run's loop: it is not wanted any more."""
        if self._scope is not None:
            self._scope.cancel()

    async def _go_on(self, errand: Errand) -> None:
        """In a task of the run: make the submission, which may have to wait."""
        applicant = self._applicant
        if not errand.is_open:
            if applicant is not None:
                give_up(self._run, applicant)
            return
        enlist = self._run.backend.enlist
        SUBMITTER.set((SUBMITTER.get()[0], self._run.backend.current_task()))
        if enlist is not None:
            enlist(self._run.backend.current_task(), ())  # it does not descend from the submitter
        scope = self._scope = self._run.backend.open_scope()
        slot: Slot[Any] | None = None
        answer: Outcome[Any] = Error(RunnerClosed("the runner is closing, and takes no more calls"))
        try:
            with scope:
                try:
                    slot = await self._whole(applicant)
                    answer = Value(slot)
                except Exception as exc:  # noqa: BLE001 - raised where it was submitted
                    answer = Error(exc)
        finally:
            if not errand.reply(answer) and slot is not None:
                # Taken back in the moment in which it was made.
                self._run.cancel(slot, "outer", "its submit was cancelled")
            self._scope = None
            del self, errand, applicant, slot, answer  # an exception leads back to this frame
