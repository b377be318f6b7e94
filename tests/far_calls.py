"""What worker processes are asked to do in tests: in a module that they import quickly.

What it does not know: creche, pytest.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any


def spin(path: str = "") -> None:
    """Never ends, and lets nobody interrupt it."""
    if path:
        write_pid(path)
    while True:
        sum(range(100_000_000))


def nap(seconds: float) -> int:
    """Take that long; says where."""
    time.sleep(seconds)
    return os.getpid()


def write_pid(path: str) -> None:
    """Say that the call has begun, and where."""
    Path(path).write_text(str(os.getpid()), encoding="utf-8")


def maybe(call: tuple[Any, Any]) -> Any:
    """Call a function with an argument."""
    return call[0](call[1])


def die_of(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(30)


def segfault(_: int) -> None:
    ctypes.string_at(0)


def write_and_nap(path: str) -> None:
    write_pid(path)
    time.sleep(30)


def write_and_return_much(path: str) -> bytes:
    write_pid(path)
    return bytes(100_000_000)


def become_another() -> None:
    """Put another program in the place of this process."""
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(30)"])  # noqa: S606 - ours


def close_everything() -> None:
    os.closerange(3, 100)
    time.sleep(30)


def scribble() -> None:
    """Write nonsense wherever that can be done."""
    for fd in range(3, 100):
        try:
            os.write(fd, b"\xff" * 100)
        except OSError:
            continue


def fork_and_exit() -> None:
    """Leave a process behind that has open what this one has."""
    if not os.fork():
        time.sleep(3)
        os._exit(0)
    os._exit(5)


def _until_asked(path: str) -> None:
    write_pid(path)
    stop = sys.modules["creche._far._stop"]
    while not stop.is_stopping():
        time.sleep(0.002)


def stop_when_asked(path: str, how: object = None) -> None:
    _until_asked(path)
    if how == "exit":
        sys.exit(1)
    if isinstance(how, int):
        os._exit(how)
    raise importlib.import_module("creche._errors").StopCall  # as `check_cancelled` does


def end_well_when_asked(path: str) -> str:
    _until_asked(path)
    return "well"


def fail_when_asked(path: str) -> None:
    _until_asked(path)
    raise ValueError


def refuse(path: str) -> None:
    write_pid(path)
    while True:
        time.sleep(1)


async def sleep_async(path: str) -> None:
    """Sleep on whatever loop runs; says so when that ends."""
    write_pid(path)
    loop = sys.modules.get("trio") or sys.modules["asyncio"]
    try:
        await loop.sleep(30)
    finally:
        write_pid(f"{path}.end")


def write_and_wait(path: str) -> int:
    write_pid(path)
    while not Path(f"{path}.go").exists():
        time.sleep(0.002)
    return os.getpid()


def numbered(number: int) -> tuple[int, int]:
    return number, os.getpid()


def linger() -> None:
    """Return, and keep the process from ending."""
    threading.Thread(target=time.sleep, args=(30,)).start()


def fail_once_started(path: str) -> None:
    if Path(path).exists():
        raise ValueError(path)
    write_pid(path)


def exhaust() -> int:
    """Ask for more memory than there may be."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
    return len(bytearray(1 << 30))


def look_round() -> dict[str, Any]:
    """What a worker process is like inside."""
    return {
        "modules": list(sys.modules),
        "path": list(sys.path),
        "argv": list(sys.argv),
        "stdin": sys.stdin.read(),
        "open": list(open_files().values()),
    }


def open_files() -> dict[str, str]:
    """What is behind each descriptor."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            found[path.name] = str(path.readlink())
        except OSError:  # that of this very list
            continue
    return found


def answer_for_nobody() -> str:
    """Answer a call that there is not, wherever that can be done."""
    frame = sys.modules["creche._far._frames"].wrap(10**9, 0.0, [b"x"])
    for fd in range(3, 100):
        try:
            os.write(fd, b"".join(frame))
        except OSError:
            continue
    return "answered"


def answer_and_die() -> str:
    """Answer, and end the process soon after."""
    threading.Timer(0.2, os._exit, (0,)).start()
    return "said"


def log_and_nap(path: str, number: int, seconds: float) -> int:
    """Put a number down in a file, in one go, and take that long."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{number}\n".encode())
    os.close(fd)
    time.sleep(seconds)
    return number


def die_at_first(path: str) -> int:
    """Ends the process that it is in, the first time; which time it is."""
    with Path(path).open("a+", encoding="utf-8") as file:
        file.write("tried\n")
        file.seek(0)
        tries = len(file.readlines())
    if tries == 1:
        os._exit(3)
    return tries


def give_much(number: int) -> bytes:
    """So much that a dozen answers are more than is read at once."""
    return bytes(6000) + bytes([number])


def begin_and_nap(path: str) -> str:
    """Say that it has begun, and take half a second; cancelled, it stops."""
    Path(path).touch()
    check_cancelled = importlib.import_module("creche").check_cancelled
    for _ in range(50):
        time.sleep(0.01)
        check_cancelled()
    return "napped"
