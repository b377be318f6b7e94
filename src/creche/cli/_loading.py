"""From ``FILE[:FLOW]`` to a flow.

What it is for: importing a file of the user's the way Python would, and finding the flow in it.

What it does not know: how flows are run, what their parameters are.

Invariant: what goes wrong in the user's file is the user's exception; everything else is a `UsageError`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from creche._printable import printable_lines
from creche._tracebacks import users_traceback
from creche.flows._flow import Flow

from ._usage import UsageError


def load_flow(target: str) -> Flow[..., Any]:
    """Import the file and give the flow.

    Args:
        target: ``FILE`` or ``FILE:FLOW``.

    Returns:
        the flow that is named, or the only one there is.

    Raises:
        UsageError: there is no such file, it is not Python, or the flow cannot be told.
        BaseException: what importing the file raised.
    """
    path, name = split_target(target)
    if not is_there(path):
        raise UsageError(f"no such file: {path}")
    if path.is_dir() or path.suffix != ".py":
        raise UsageError(f"not a Python file: {path}; the name must end in .py")
    return find_flow(import_file(path), path, name)


def load_or_show(target: str) -> Flow[..., Any] | None:
    """The same; what the file raised is shown.

    Args:
        target: ``FILE`` or ``FILE:FLOW``.

    Returns:
        the flow; `None` if the file raised something, which has been shown.

    Raises:
        UsageError: there is no such file, it is not Python, or the flow cannot be told.
        KeyboardInterrupt: it hit the import.
    """
    try:
        return load_flow(target)
    except (KeyboardInterrupt, UsageError):
        raise
    except BaseException as exc:  # noqa: BLE001 - shown
        sys.stderr.write(printable_lines(users_traceback(exc)))
        return None


def split_target(target: str) -> tuple[Path, str | None]:
    """Divide ``FILE[:FLOW]``; a file that has a colon in its name is taken whole.

    Args:
        target: what the command was given.

    Returns:
        the file, and the name of the flow if there is one.
    """
    head, colon, name = target.rpartition(":")
    if not colon or is_there(Path(target)):
        return Path(target), None
    return Path(head), name


def is_there(path: Path) -> bool:
    """Whether there is a file or a folder of this name, be it a name that none can have.

    Args:
        path: anything.

    Returns:
        whether it is there.
    """
    try:
        return path.exists()
    except (OSError, ValueError):  # it is too long, or has a NUL in it
        return False


def import_file(path: Path) -> ModuleType:
    """Run a file as a module, with its folder first on the path, as ``python FILE`` has it.

    Args:
        path: a Python file.

    Returns:
        the module.

    Raises:
        BaseException: what the file raised.
    """
    path = path.resolve()
    # Under its own name, so that its functions can be pickled; unless that is somebody's already.
    name = path.stem if path.stem not in sys.modules else f"creche_run_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def find_flow(module: ModuleType, path: Path, name: str | None) -> Flow[..., Any]:
    """The flow that is meant.

    Args:
        module: the imported file.
        path: its path, for messages.
        name: of the flow; `None` for the only one.

    Returns:
        the flow.

    Raises:
        UsageError: there is none, none of that name, or several and no name.
    """
    flows = {attribute: value for attribute, value in vars(module).items() if isinstance(value, Flow)}
    if not flows:
        raise UsageError(f"no flow in {path}; decorate a function with @flow from creche")
    if name is not None:
        if name not in flows:
            raise UsageError(f"no flow {name!r} in {path}; it has {', '.join(flows)}")
        return flows[name]
    # A flow that is imported from elsewhere is a part, not what the file is about.
    own = {key: value for key, value in flows.items() if value.fn.__module__ == module.__name__}
    own = own or flows
    if len(set(map(id, own.values()))) > 1:
        raise UsageError(
            f"several flows in {path}: {', '.join(own)}; say which, as in {path}:{next(iter(own))}",
        )
    return next(iter(own.values()))
