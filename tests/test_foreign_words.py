"""The words of other engines, as options and arguments: the error says what to write here."""

from __future__ import annotations

from typing import Any

import pytest

from creche import flow, task


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@pytest.mark.parametrize("decorate", [task, flow])
@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("timeout_seconds", "has no option 'timeout_seconds': write timeout="),
        ("retry_delay_seconds", "write retry_delay=, of a task"),
        ("on_failure", "write on_failed="),
        ("cache_key_fn", "nothing of the kind is here; docs/how-to/from-prefect.md"),
        ("colour", "has no option 'colour': it has "),
    ],
)
def test_options(decorate: Any, option: str, says: str) -> None:
    """At the decoration, in each of its forms, and in `with_options`."""

    def fn() -> None:
        raise AssertionError

    for given in ((), (fn,)):
        with pytest.raises(TypeError, match=says):
            decorate(*given, **{option: 3})
    with pytest.raises(TypeError, match=f"@{decorate(fn).__class__.__name__.lower()} has no option"):
        decorate(fn).with_options(**{option: 3})


def test_what_there_is_is_named() -> None:
    """All options, in the order in which the pages have them."""
    with pytest.raises(TypeError, match="it has task_runner, name, timeout, .*on_crashed$"):
        flow(lambda: None, speed=3)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]  # wrong on purpose


def test_arguments_of_a_call() -> None:
    """At the submit, and not as a failure of the task that nobody reads."""

    @flow
    def body() -> None:
        slot = add.submit(1)
        for given in (
            lambda: add.submit(2, wait_for=[slot]),
            lambda: add.map([2], wait_for=[slot]),
            lambda: add(2, wait_for=[slot]),  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]  # wrong on purpose
        ):
            with pytest.raises(TypeError, match="task 'add' has no argument 'wait_for': pass the slots"):
                given()
        with pytest.raises(TypeError, match=r"'return_state': submit gives a slot.*slot\.state"):
            add.submit(2, return_state=True)
        assert add.submit(a=2, b=slot).result() == 3

    body()


def test_functions_that_have_such_arguments() -> None:
    """They are arguments like any other."""

    @task
    def named(wait_for: int) -> int:
        return wait_for

    @task
    def open_to_all(**given: Any) -> Any:
        return given

    class Unknown:
        __signature__ = "none"

        def __call__(self, **given: Any) -> Any:
            return given

    @flow
    def body() -> None:
        assert named.submit(wait_for=3).result() == 3
        assert open_to_all.submit(wait_for=3).result() == {"wait_for": 3}
        assert task(Unknown()).submit(return_state=3).result() == {"return_state": 3}

    body()


def test_arguments_of_a_result() -> None:
    """What to ask for instead of the error."""

    @flow
    def body() -> None:
        slot = add.submit(1)
        with pytest.raises(TypeError, match=r"no argument 'raise_on_failure': allow_failure\(slot\)"):
            slot.result(raise_on_failure=False)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]  # wrong on purpose
        with pytest.raises(TypeError, match="no argument 'fetch': its timeout is all"):
            slot.result(1, fetch=True)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]  # wrong on purpose
        assert slot.result(timeout=5) == 1

    body()
