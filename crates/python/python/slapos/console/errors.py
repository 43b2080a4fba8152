"""Errors a beginner can read: the user's own lines, then what happened."""
from __future__ import annotations

import os
import sys
import traceback

#: The frames of this library say nothing to a person.
_LIBRARY = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def text(kind, value, trace) -> str:
    """The traceback as it is shown."""
    shown = traceback.TracebackException(kind, value, trace)
    seen = set()
    todo = [shown]
    while todo:
        part = todo.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        frames = [frame for frame in part.stack if not frame.filename.startswith(_LIBRARY)]
        part.stack = traceback.StackSummary.from_list(frames)
        todo += [part.__cause__, part.__context__]
    said = "".join(shown.format())
    # Which module an exception is from is no help either.
    module = getattr(kind, "__module__", "")
    if module.startswith("slapos."):
        said = said.replace("\n%s.%s" % (module, kind.__qualname__), "\n" + kind.__qualname__)
    return said


def show(kind, value, trace) -> None:
    """Print it, as `sys.excepthook` does."""
    try:
        sys.stderr.write(text(kind, value, trace))
        sys.stderr.flush()
    except BrokenPipeError:
        pass
