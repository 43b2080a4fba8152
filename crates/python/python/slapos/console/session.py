"""One run of the console: a script, or a shell."""
from __future__ import annotations

import os
import signal
import sys
import types

from . import errors, names


def run(settings: dict) -> int | None:
    """Run it; the exit code."""
    scope, catalogue = names.namespace(settings)
    main = types.ModuleType("__main__")
    main.__builtins__ = names.Builtins(catalogue)
    main.__dict__.update(scope)
    sys.modules["__main__"] = main
    sys.excepthook = errors.show
    if settings["command"] is not None:
        sys.argv[:] = ["-c", *sys.argv[1:]]
        sys.path.insert(0, "")
        return execute(main, settings["command"], "<command>")
    if settings["script"]:
        return script(main)
    sys.argv[:] = [""]
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, "")
    from . import shells
    return shells.interact(main, catalogue, settings)


def script(main: types.ModuleType) -> int:
    """Run a file with the console's names as Python would run it."""
    path = sys.argv[1]
    sys.argv[:] = sys.argv[1:]
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        sys.stderr.write("error: cannot read the script %s: %s\n" % (path, error.strerror))
        return 1
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    main.__file__ = path
    return execute(main, source, path)


def execute(main: types.ModuleType, source: str | bytes, path: str) -> int:
    """Run Python with the console's names; the exit code."""
    try:
        exec(compile(source, path, "exec"), main.__dict__)
    except KeyboardInterrupt:
        return interrupted()
    except BrokenPipeError:
        return broken_pipe()
    except SystemExit:
        raise
    except BaseException:
        errors.show(*sys.exc_info())
        return 1
    return flush()


def flush() -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return broken_pipe()
    return 0


def broken_pipe() -> int:
    """Whoever read our output has seen enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def interrupted() -> int:
    """End as a program that Ctrl-C has ended, without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    return 130
