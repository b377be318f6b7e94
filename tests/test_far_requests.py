"""Calls as parcels: what travels, what is named when it cannot, what is kept on the other side.

What it does not know: processes. The far side is a function here.
"""

from __future__ import annotations

import contextvars
import functools
import sys
import threading
import types
from typing import Any

import pytest

from creche import RemoteError
from creche._errors import CallCrashed, RemoteTraceback
from creche._far import _body
from creche._far._body import carry
from creche._far._pickling import dump, load
from creche._place import Work
from creche.places._answers import unpack
from creche.places._requests import pack
from parcels import Array, Closing, Throws, give, outcome, swap, work

LOCK = threading.Lock()
VARIABLE: contextvars.ContextVar[object] = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.mark.parametrize(
    ("fn", "args", "said"),
    [
        (lambda: LOCK, (), "it is the global 'LOCK', of type _thread.lock"),
        (give(threading.Lock()), (), "it is the variable 'value' around it, of type _thread.lock"),
        (functools.partial(print, threading.Lock()), (), "it is its argument 1, of type _thread.lock"),
        (functools.partial(dict, end=threading.Lock()), (), "it is its argument 'end'"),
        (functools.partial(give(threading.Lock())), (), "it is its function, of type function"),
        (print, (1, threading.Lock()), "argument 2 of 'print', of type _thread.lock, cannot be pickled"),
        (print, ([1, threading.Lock()],), "it is item 1, of type _thread.lock"),
        (print, ({"a": threading.Lock()},), "it is the value of 'a', of type _thread.lock"),
        (types.SimpleNamespace(a=LOCK).__repr__, (), "it is attribute 'a' of it, of type _thread.lock"),
        (threading.Condition().notify, (), "it is attribute '_lock' of it, of type _thread.RLock"),
        (print, (Throws(ValueError("mine")),), "ValueError: mine"),
        (print, (Throws(SystemExit("mine")),), "SystemExit: mine"),
    ],
)
def test_what_cannot_be_sent_is_named(fn: Any, args: tuple[Any, ...], said: str) -> None:
    """As closely as can be told."""
    if fn.__class__.__name__ == "function" and fn.__module__ == __name__:
        fn = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, None, fn.__closure__)
        fn.__module__ = "__main__"
    with pytest.raises(CallCrashed) as caught:
        pack(work(fn, *args), "trio")
    assert caught.value.kind == "serialize"
    assert said in caught.value.detail
    assert isinstance(caught.value.__cause__, RemoteTraceback)


class Callable:
    """An object that is called."""

    def __call__(self) -> int:
        return 5


def test_what_is_called_may_be_anything() -> None:
    """Named by its type where it has no name."""
    assert outcome(Callable()).value == 5
    with pytest.raises(
        CallCrashed, match="argument 1 of the callable of type test_far_requests.Callable"
    ):
        pack(work(Callable(), LOCK), "trio")


def test_a_part_that_can_be_pickled_only_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the call as a whole is to blame."""
    calls = []

    class Twice:
        def __reduce__(self) -> Any:
            calls.append(self)
            if len(calls) == 1:
                raise ValueError("once")
            return int, ()

    with pytest.raises(CallCrashed, match="the call of 'print' cannot be pickled: ValueError: once"):
        pack(work(print, Twice()), "trio")


def test_a_value_of_a_context_variable_that_cannot_be_sent() -> None:
    """It is named as well."""
    context = contextvars.copy_context()
    context.run(VARIABLE.set, LOCK)
    job = Work("key", print, (), False, context)
    with pytest.raises(
        CallCrashed, match="the context variable 'VARIABLE' of here, cannot|of here cannot"
    ):
        pack(job, "trio", [(("here", "VARIABLE"), VARIABLE)])


def _nested() -> list[Any]:
    return [lambda: 5]


def look() -> object:
    return VARIABLE.get()


def test_context_variables() -> None:
    """Those that have a value are set over there, and found once."""
    context = contextvars.copy_context()
    context.run(VARIABLE.set, "sent")
    for _ in range(2):
        parcel = pack(
            Work("key", look, (), False, context), "trio", [((__name__, "VARIABLE"), VARIABLE)]
        )
        assert unpack("key", carry(parcel)).unwrap() == "sent"
    assert VARIABLE.get() == "unset"


def test_what_cannot_be_loaded_there() -> None:
    """A crash, with the way out where one is known."""
    with pytest.raises(CallCrashed, match="cannot be loaded over there: SystemExit: 1") as caught:
        outcome(print, Closing())
    assert caught.value.kind == "deserialize"
    module = types.ModuleType("not_there")
    exec("def fn(): pass\nclass Cls: pass", module.__dict__)  # noqa: S102 - of our own making
    sys.modules["not_there"] = module
    try:
        parcel = pack(work(module.fn), "trio")
        another = pack(work(print, module.Cls), "trio")
        vars(module).pop("Cls")
        with pytest.raises(CallCrashed, match="what is found under that name there is not"):
            unpack("key", carry(another))
    finally:
        del sys.modules["not_there"]
    with pytest.raises(CallCrashed, match=r"register_pickle_by_value\(not_there\)"):
        unpack("key", carry(parcel))


def test_functions_that_last_are_pickled_once() -> None:
    """Found by their names, or made of nothing but their code; not those that may change."""
    counter = 0

    def count() -> int:
        return counter

    assert outcome(count).value == 0
    counter = 1
    assert outcome(count).value == 1

    def plain(x: int, y: int = 2) -> int:
        return x + y

    assert outcome(plain, 1).value == 3
    plain.__defaults__ = (5,)
    assert outcome(plain, 1).value == 6
    assert outcome(plain, [1][0]).value == 6
    assert [found() for found in outcome(_nested).value] == [5]


def test_functions_are_kept_over_there_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then all of them are let go."""
    monkeypatch.setattr(_body, "_MOST_FUNCTIONS", 3)
    for number in range(8):
        assert outcome(types.FunctionType(compile("5", str(number), "eval"), {})).value == 5
        assert len(_body._FUNCTIONS) <= max(3, 1)


def test_a_single_part_where_that_is_asked_for() -> None:
    """Both ways; arrays and all."""
    array = Array(b"x" * 100_000, b"y" * 10)
    parcel = pack(work(swap, array), "trio", in_band=True)
    assert len(parcel) == 1
    assert len(pack(work(swap, array), "trio")) == 2
    answer = carry(parcel, in_band=True)
    assert len(answer) == 1
    assert len(carry(parcel)) == 2
    back = unpack("key", answer).unwrap()
    assert [bytes(back.one), bytes(back.other)] == [b"y" * 10, b"x" * 100_000]


def _empty_cell() -> Any:
    def fn() -> Any:
        return later, LOCK  # type: ignore  # a global that cannot be pickled

    if LOCK is None:
        later = 1
    return fn


def _with_default(lock: Any = LOCK) -> Any:
    return len(str(lock)), VARIABLE.name


def test_a_function_of_which_each_name_is_innocent() -> None:
    """Then nothing more is said."""
    fn = types.FunctionType(_with_default.__code__, {"str": str}, "fn", (LOCK,))
    fn.__module__ = "__main__"
    with pytest.raises(CallCrashed, match="'_thread.lock' object$"):
        pack(work(fn), "trio")


def test_a_variable_that_is_not_set_yet() -> None:
    """It is not to blame."""
    fn = _empty_cell()
    fn.__module__ = "__main__"
    with pytest.raises(CallCrashed, match="it is the global 'LOCK'"):
        pack(work(fn), "trio")


def test_a_cached_function_of_the_main_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes along, with a cache of its own; also where it calls itself, and where another calls it."""

    def fib(number: int) -> int:
        return number if number < 2 else main.fib(number - 1) + main.fib(number - 2)

    main: Any = types.ModuleType("main")
    fib.__module__, fib.__qualname__ = "__main__", "fib"
    main.fib = cached = functools.lru_cache(maxsize=99)(fib)
    monkeypatch.setattr(sys.modules["__main__"], "fib", cached, raising=False)
    sent = load(dump(cached))
    assert sent is not cached
    assert sent(10) == 55
    assert sent.cache_parameters() == {"maxsize": 99, "typed": False}
    assert load(dump(functools.partial(cached, 5)))() == 5


def test_a_key_that_need_not_travel() -> None:
    """What it looks like does: it may be of a class that is not known over there."""
    sent = pack(work(int)._replace(key=("a", threading)), "trio", at=("runner", "process"))
    assert b"<module 'threading'" in bytes(sent[0])
    plain = pack(work(int)._replace(key=5), "trio", at=("runner", "process"))
    assert b"<module" not in bytes(plain[0])


def test_ctrl_c_while_it_is_packed_is_not_the_calls() -> None:
    """It comes out where the program is."""
    with pytest.raises(KeyboardInterrupt):
        pack(work(print, Throws(KeyboardInterrupt())), "trio")


def test_a_key_that_cannot_be_spelled() -> None:
    """It costs the call nothing: over there it has a name that says so."""

    class Mute:
        def __repr__(self) -> str:
            raise ValueError("mine")

    sent = pack(work(abs, -3)._replace(key=Mute()), "trio", at=("a runner", "process"))
    assert "whose repr failed" in str(load(sent)[4][0])


def test_texts_of_a_class_of_the_users() -> None:
    """They need not be found over there either: the names of a flow and of a runner, what a key says."""

    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise ValueError("mine")

    class Said:
        def __repr__(self) -> str:
            return Text("said")

    piece = work(abs, -3)._replace(key=Said(), flow=Text("a flow"))
    name = load(pack(piece, "trio", at=(Text("a runner"), "process")))[4]
    assert name == ("said", "a runner", 1, "process", "a flow")
    assert {type(one) for one in name} == {str, int}


def test_a_long_key() -> None:
    """Is spelled in full: two that begin and end alike are told apart over there."""
    key = ("x" * 300, 1, "x" * 300)
    sent = pack(work(abs, -3)._replace(key=key), "trio", at=("a runner", "process"))
    assert load(sent)[4][0] == repr(key)


def test_what_an_error_from_elsewhere_says() -> None:
    """Its type over there, and what it said; not the whole of its traceback."""
    assert str(RemoteError("shop.SoldOut", "no more", "Traceback ...")) == "shop.SoldOut: no more"
