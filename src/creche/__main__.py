"""The command ``creche``, as far as it works without its extra.

What it is for: the library installs without what only the command needs. Without it, the command says in
one sentence what to install.

What it does not know: anything the command does.
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Run the command.

    Raises:
        SystemExit: always, with the exit status: 2 when the extra is not installed, 130 when Ctrl-C
            comes while all is being imported.
    """
    path = sys.path
    if __name__ == "__main__":
        # `python -m` has the present folder first on the path: the user's, where a file may have the
        # name of a module that the command needs. Its turn is later.
        sys.path = [*path[1:], path[0]]
    try:
        # Not at the top: it needs cyclopts and rich, which may not be there.
        app = importlib.import_module("creche.cli._app")
    except ImportError as exc:
        package = (exc.name or "").partition(".")[0]
        if package not in {"cyclopts", "rich"}:
            raise
        sys.stderr.write(
            f"creche: the command needs {package}, which is not installed: pip install 'creche[cli]'\n",
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("creche: interrupted before it began\n")
        sys.exit(130)
    finally:
        sys.path = path
    sys.exit(app.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
