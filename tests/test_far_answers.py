"""Calls as parcels, and answers as outcomes: what each part does when something is wrong with the other.

What it does not know: processes. The far side is a function here.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import pickle
import threading
import traceback
from typing import Any

import cloudpickle
import pytest
import trio

from creche import check_cancelled
from creche._errors import CallCancelled, CallCrashed, RemoteError, RemoteTraceback
from creche._far import _body, _raised
from creche._far._body import carry
from creche._far._pickling import dump, dump_plain, load
from creche._far._stop import Cut, Stop, is_stopping
from creche.places._answers import CANCELLED_THERE, unpack
from parcels import Closing, Throws, outcome, throw


class NeedsTwo(Exception):  # noqa: N818 - what is raised here is no error of anybody's
    """Pickles, and does not come back."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one)
        self.other = other


class Odd(Exception):  # noqa: N818 - as users name theirs
    """Pickles as something that is no exception."""

    def __reduce__(self) -> Any:
        return int, ("5",)


class Silent(Exception):  # noqa: N818 - as users name theirs
    def __str__(self) -> str:
        raise LookupError

    def __reduce__(self) -> Any:
        raise LookupError


class Leaving(Exception):  # noqa: N818 - as users name theirs
    """Exits when it is shown, and when it is pickled."""

    def __str__(self) -> str:
        raise SystemExit

    def __reduce__(self) -> Any:
        raise self.args[0]


class Shy:
    """Exits when it is shown."""

    def __str__(self) -> str:
        raise SystemExit


class OwnGroup(ExceptionGroup[Exception]):
    pass


class Interrupting:
    def __reduce__(self) -> Any:
        return interrupt, ()


def interrupt() -> None:
    raise KeyboardInterrupt


def test_an_exception_without_a_way_back() -> None:
    """It is told of, with everything that is known."""
    error = outcome(lambda: throw(NeedsTwo("one", "other"))).error
    assert isinstance(error, RemoteError)
    assert error.type_name == "test_far_answers.NeedsTwo"
    assert error.message == "one"
    assert "in throw" in error.traceback
    assert isinstance(error.__cause__, RemoteTraceback)
    for odd in (Odd("odd"), Odd()):
        assert isinstance(outcome(_throw_with_note, odd.args).error, RemoteError)


def _throw_with_note(args: Any) -> None:
    exc = Odd(*args)
    exc.add_note("a note")
    raise exc


def test_notes_of_one_that_is_stood_for() -> None:
    """They stay."""
    assert outcome(_throw_with_note, ()).error.__notes__ == ["a note"]


def chain() -> None:
    try:
        try:
            throw(KeyError("deep"))
        except KeyError as deep:
            error = ValueError("middle")
            error.add_note("a note")
            raise error from deep
    except ValueError:
        raise TypeError("top")  # noqa: B904 - that is the point


def test_causes_and_contexts_stay() -> None:
    """With their notes; the text of the traceback is at the end of the causes."""
    top = outcome(chain).error
    assert isinstance(top, TypeError)
    middle = top.__context__
    assert isinstance(middle, ValueError)
    assert middle.__notes__ == ["a note"]
    assert isinstance(middle.__cause__, KeyError)
    assert isinstance(top.__cause__, RemoteTraceback)
    assert "deep" in str(top.__cause__)

    def caused() -> None:
        raise ValueError from KeyError("why")

    error = outcome(caused).error
    assert isinstance(error.__cause__, KeyError)
    assert isinstance(error.__cause__.__cause__, RemoteTraceback)
    assert "in caused" in "".join(traceback.format_exception(error))


def test_a_long_or_circular_chain_has_an_end() -> None:
    """What is shown is enough."""

    def circle() -> None:
        one, other = ValueError(), KeyError()
        one.__cause__, other.__context__ = other, one
        raise one

    assert isinstance(outcome(circle).error.__cause__, KeyError)

    def long() -> None:
        exc: BaseException = ValueError(0)
        for number in range(1, 100):
            above = ValueError(number)
            above.__cause__ = exc
            exc = above
        raise exc

    error, length = outcome(long).error, 0
    while error is not None:
        error, length = error.__cause__, length + 1
    assert length == _raised.LONGEST_CHAIN + 1


def test_a_link_that_cannot_be_pickled() -> None:
    """It is stood for; the exception itself comes as it is."""

    def link() -> None:
        raise ValueError("top") from ValueError(threading.Lock())

    error = outcome(link).error
    assert isinstance(error, ValueError)
    assert isinstance(error.__cause__, RemoteError)


def test_an_exception_that_says_nothing() -> None:
    """Nobody stumbles over it."""
    with pytest.raises(CallCrashed, match="cannot be pickled: LookupError") as caught:
        outcome(lambda: throw(Silent()))
    assert "<str() of it raised LookupError>" in caught.value.detail


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_exception_that_would_exit(kind: type[BaseException]) -> None:
    """Neither does whoever describes it, nor when a note or a link of it would."""
    with pytest.raises(CallCrashed, match=f"cannot be pickled: {kind.__name__}") as caught:
        outcome(lambda: throw(Leaving(kind)))
    assert caught.value.kind == "serialize"
    assert "<str() of it raised SystemExit>" in caught.value.detail

    def more() -> None:
        exc = ValueError("top")
        exc.__notes__ = [Shy()]  # type: ignore[list-item]  # wrong on purpose
        exc.__cause__ = Leaving(kind)
        raise exc

    error = outcome(more).error
    assert isinstance(error, ValueError)
    assert isinstance(error.__cause__, RemoteError)


def test_a_traceback_that_cannot_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be shown is."""

    def fail(*args: object) -> None:
        raise LookupError

    monkeypatch.setattr(traceback, "format_exception", fail)
    error = outcome(lambda: throw(ValueError("said"))).error
    assert "ValueError: said\n(the rest cannot be shown: LookupError)" in str(error.__cause__)


def test_what_cannot_be_loaded_here() -> None:
    """A crash, and no harm; Ctrl-C is nobody's answer."""
    with pytest.raises(
        CallCrashed, match="result of the call cannot be loaded here: SystemExit"
    ) as caught:
        outcome(Closing)
    assert caught.value.kind == "deserialize"
    with pytest.raises(KeyboardInterrupt):
        unpack("key", dump(("value", Interrupting())))
    record = _raised.Raised(dump(Interrupting())[0], "name", "", (), None, None, False)
    with pytest.raises(KeyboardInterrupt):
        unpack("key", dump_plain_record(record))


def dump_plain_record(record: Any) -> Any:
    return [dump_plain(("raised", tuple(record), "text"))]


@pytest.mark.parametrize(
    "exc", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]
)
def test_what_is_no_exception_is_a_crash(exc: BaseException) -> None:
    """Also a cancellation that nobody has asked for."""
    with pytest.raises(CallCrashed) as caught:
        outcome(throw, exc)
    assert caught.value.kind == "exit"
    assert type(exc).__name__ in caught.value.detail


def test_no_memory() -> None:
    """An exception as any other: for the arguments, in the call, for the result."""
    for fn, args in [(throw, (MemoryError(),)), (Throws, (MemoryError(),))]:
        assert isinstance(outcome(fn, *args).error, MemoryError)
    parcel = [cloudpickle.dumps((print, (_Loads(),), None, (), None, False))]
    assert isinstance(unpack("key", carry(parcel)).error, MemoryError)  # type: ignore  # it is an Error
    with pytest.raises(MemoryError):
        _raised.describe(_Heavy())


def test_no_memory_for_a_plain_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same."""

    def dump_value(answer: Any) -> bytes:
        if answer[0] == _body.VALUE:
            raise MemoryError
        return dump_plain(answer)

    monkeypatch.setattr(_body, "dump_plain", dump_value)
    assert isinstance(outcome(str).error, MemoryError)


class _Loads:
    def __reduce__(self) -> Any:
        return throw, (MemoryError(),)


class _Heavy(Exception):  # noqa: N818 - as users name theirs
    def __reduce__(self) -> Any:
        raise MemoryError


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_async_calls(loop: str) -> None:
    """On a loop of the kind that was asked for."""

    async def fn() -> str:
        await (trio if loop == "trio" else asyncio).sleep(0)
        return loop

    assert outcome(fn, is_async=True, loop=loop).value == loop


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
@pytest.mark.parametrize("late", [True, False])
def test_async_calls_that_are_to_stop(loop: str, late: bool) -> None:
    """Cancelled at once, or when it is said."""
    stop = Stop()
    if not late:
        stop.set()

    async def fn() -> None:
        if late:
            stop.set()
        await (trio if loop == "trio" else asyncio).sleep(30)

    call = [fn, (), loop, contextvars.copy_context(), None, True]
    with pytest.raises(BaseException) as caught:
        _body._call(stop, call)
    assert isinstance(caught.value, Cut)


def test_plain_calls_that_stop() -> None:
    """By what `check_cancelled` raises; any `Exception` is their failure, as on the loop."""
    stop = Stop()
    stop.set()
    stop.set()

    def obey() -> None:
        assert is_stopping()
        check_cancelled()

    with pytest.raises(CallCrashed) as caught:
        outcome(obey, stop=stop)
    assert caught.value.kind == CANCELLED_THERE
    error = outcome(lambda: throw(CallCancelled("key", "cancel", "of its own")), stop=stop).error
    assert isinstance(error, CallCancelled)
    stop.clear()
    assert not is_stopping()


@pytest.mark.filterwarnings("default")  # what distributed says at its import
def test_a_syntax_error_where_distributed_is() -> None:
    """It loads tblib, which changes how exceptions are pickled, and made this one say nothing."""
    importlib.import_module("distributed.utils")
    came = outcome(compile, "x = = 1", "a file", "exec")
    assert str(came.error) == "invalid syntax (a file, line 1)"
    assert came.error.text == "x = = 1\n"


@pytest.mark.filterwarnings("default")  # what distributed says at its import
def test_exceptions_in_others_where_distributed_is() -> None:
    """Also in a group of a class of its own, and in a value, they are pickled as they want to be."""
    importlib.import_module("distributed.utils")

    class Several(ExceptionGroup[Exception]):
        pass

    def bad() -> Exception:
        return SyntaxError("bad", ("a file", 1, 2, "x = = 1"))

    def fail() -> None:
        raise Several("several", [bad()])

    error = outcome(fail).error
    assert str(error.exceptions[0]) == "bad (a file, line 1)"
    assert str(outcome(lambda: [bad()]).value[0]) == "bad (a file, line 1)"


def test_large_buffers_travel_beside() -> None:
    """They are not copied into the pickle, and what is loaded uses their memory."""
    parts = dump(pickle.PickleBuffer(bytearray(b"x" * 100_000)))
    assert [len(part) for part in parts[1:]] == [100_000]
    assert bytes(load(parts)) == b"x" * 100_000


def test_the_members_of_a_group_travel_one_by_one() -> None:
    """One that cannot be rebuilt, or not even be pickled, does not spoil the others, nor the group."""

    def fail() -> None:
        value, odd = ValueError("one"), NeedsTwo("two", "words")
        value.__cause__ = KeyError("why")
        odd.add_note("noted")
        group = ExceptionGroup("several", [value, ExceptionGroup("inner", [odd, Silent()])])
        group.add_note("of the group")
        raise group

    found = outcome(fail).error
    assert type(found) is ExceptionGroup
    assert found.message == "several"
    assert found.__notes__ == ["of the group"]
    one, inner = found.exceptions
    assert (type(one), one.args) == (ValueError, ("one",))
    assert isinstance(one.__cause__, KeyError)
    assert isinstance(inner, ExceptionGroup)
    two, silent = inner.exceptions
    assert isinstance(two, RemoteError)
    assert two.type_name.endswith("NeedsTwo")
    assert two.__notes__ == ["noted"]
    assert isinstance(silent, RemoteError)
    assert isinstance(found.__cause__, RemoteTraceback)


def test_a_group_within_groups_without_end() -> None:
    """From some depth on it travels as a whole."""
    group: BaseException = ValueError("innermost")
    for _ in range(_raised.LONGEST_CHAIN + 5):
        assert isinstance(group, Exception)
        group = ExceptionGroup("outer", [group])
    found, depth = outcome(throw, group).error, 0
    while isinstance(found, ExceptionGroup):
        found, depth = found.exceptions[0], depth + 1
    assert (str(found), depth) == ("innermost", _raised.LONGEST_CHAIN + 5)


def test_a_group_of_a_class_of_its_own() -> None:
    """It is pickled as it wants to be."""
    found = outcome(throw, OwnGroup("own", [ValueError("one")])).error
    assert type(found).__name__ == "OwnGroup"
    assert str(found.exceptions[0]) == "one"
