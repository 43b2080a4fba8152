"""The shells: plain Python, IPython, bpython."""
from __future__ import annotations

import builtins
import code
import os
import sys

from slapos.slap import _instance

from . import errors, names

HISTORY = "~/.slapconsolehistory"
#: How many lines of history are kept.
HISTORY_LINES_MAX = 10_000

#: How long the prompt waits for the names of real products, in seconds.
SOON = 0.08


def banner(settings: dict, catalogue, shell: str) -> str:
    """What to type first. Its examples work."""
    known = catalogue.soon(SOON)
    example = names.identifier(min(known, key=lambda name: (len(name), name))) if known \
        else "product.NAME"
    rows = [
        ("software_list", "what can be had, by name" if not known else
         "what can be had: %s" % ", ".join(sorted(map(names.identifier, known))[:5])),
        ('i = request(%s, "my instance")' % example, "ask for an instance, or for news of it"),
        ('i.wait().getConnectionParameter("url")', "wait until it works; how to reach it"),
        ("i.getState(), i.getActualState()", "what was asked for, and what it is"),
        ('getInformation("my instance")', "what the Master knows of it"),
        ('supply(%s, "COMP-1")' % example, "install software on a node; remove() removes it"),
        ("product, slap, config", "the Master's products; the library; the configuration"),
    ]
    width = max(len(what) for what, _ in rows) + 2
    return "SlapOS console: Master %s\n\n%s\n\n%s; Ctrl-D ends." % (
        settings["master_url"],
        "\n".join("  " + what.ljust(width) + why for what, why in rows), shell)


def interact(main, catalogue, settings: dict) -> int | None:
    wanted = settings["shell"]
    terminal = sys.stdin.isatty()
    if terminal and sys.stderr.isatty():
        _instance.progress_shown = lambda why: print(why, file=sys.stderr)
    if wanted == "ipython" or (wanted == "auto" and terminal):
        if available("IPython"):
            return ipython(main, catalogue, settings)
        if wanted == "ipython":
            missing("IPython")
    if wanted == "bpython":
        if available("bpython"):
            return bpython(main, catalogue, settings)
        missing("bpython")
    return plain(main, catalogue, settings, terminal)


def available(module: str) -> bool:
    import importlib.util
    return importlib.util.find_spec(module) is not None


def missing(shell: str) -> None:
    sys.stderr.write("INFO %s not available - using plain Python shell\n" % shell)


def python_version() -> str:
    return "Python " + sys.version.split()[0]


class Shell(code.InteractiveConsole):
    """Python's own shell, with errors a beginner can read."""

    def __init__(self, scope: dict, terminal: bool):
        super().__init__(scope, "<console>")
        self.terminal = terminal

    def raw_input(self, prompt: str = "") -> str:
        # What is piped in needs no prompts between its results.
        return super().raw_input(prompt if self.terminal else "")

    def showtraceback(self) -> None:
        kind, value, trace = sys.exc_info()
        sys.last_type, sys.last_value, sys.last_traceback = kind, value, trace
        try:
            # The first frame is the shell's.
            self.write(errors.text(kind, value, trace.tb_next or trace))
        finally:
            kind = value = trace = None


def plain(main, catalogue, settings: dict, terminal: bool) -> int | None:
    sys.ps1 = ">>> "
    sys.ps2 = "... "
    if terminal:
        save = readline(main.__dict__, catalogue)
    else:
        save = None
    shell = Shell(main.__dict__, terminal)
    said = banner(settings, catalogue, python_version()) if terminal else ""
    try:
        if terminal:
            shell.interact(banner=said, exitmsg="")
        else:
            piped(shell)
    except BrokenPipeError:
        from .session import broken_pipe
        return broken_pipe()
    finally:
        if save:
            save()
    return 0


def piped(shell: Shell) -> None:
    """As a shell, for input that is no terminal: no banner, no prompts."""
    more = False
    for line in sys.stdin:
        try:
            more = shell.push(line.rstrip("\n"))
        except KeyboardInterrupt:
            from .session import interrupted
            raise SystemExit(interrupted())
    if more:
        shell.push("")
    sys.stdout.flush()


def readline(scope: dict, catalogue):
    """History and completion, where Python has them; what saves the history."""
    try:
        import readline
    except ImportError:
        return None
    import rlcompleter

    class Completer(rlcompleter.Completer):
        def global_matches(self, text):
            found = super().global_matches(text)
            known = {match.rstrip("( ") for match in found}
            if text and not text.startswith("_"):
                found += [name for name in catalogue.names()
                          if name.startswith(text) and name not in known]
            return found

        def attr_matches(self, text):
            start, _, word = text.rpartition(".")
            thing = scope.get(start)
            if isinstance(thing, names.SoftwareProductCollection):
                # Whether a product is a function need not be asked of the Master, one by one.
                return ["%s.%s" % (start, name) for name in dir(thing)
                        if name.startswith(word) and name not in ("logger", "slap")]
            return super().attr_matches(text)

    readline.set_completer(Completer(scope).complete)
    libedit = "libedit" in (getattr(readline, "__doc__", None) or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
    path = os.path.expanduser(HISTORY)
    try:
        readline.read_history_file(path)
    except OSError:
        pass  # the first time there is none
    readline.set_history_length(HISTORY_LINES_MAX)

    def save():
        try:
            # It may hold what was typed as a password: its owner's eyes only, from the beginning.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            os.chmod(path, 0o600)
            readline.write_history_file(path)
        except OSError:
            pass  # no home, no history

    return save


def ipython(main, catalogue, settings: dict) -> int | None:
    import IPython
    from traitlets.config import Config

    config = Config()
    config.TerminalIPythonApp.display_banner = True
    config.TerminalInteractiveShell.banner1 = banner(
        settings, catalogue, "IPython %s, %s" % (IPython.__version__, python_version())) + "\n\n"
    config.TerminalInteractiveShell.banner2 = ""
    config.InteractiveShellApp.exec_lines = []
    scope = dict(main.__dict__)
    for name in [name for name in scope if name.startswith("__")]:
        del scope[name]

    from IPython.terminal.ipapp import TerminalIPythonApp
    app = TerminalIPythonApp.instance(config=config, user_ns=scope)
    app.initialize(argv=[])
    shell = app.shell

    def bring(info):
        """Products and aliases that the next lines name."""
        import ast
        try:
            tree = ast.parse(info.raw_cell or "")
        except SyntaxError:
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id not in shell.user_ns \
                    and not hasattr(builtins, node.id) and not node.id.startswith("_"):
                try:
                    shell.user_ns[node.id] = catalogue.find(node.id)
                except KeyError:
                    pass

    def short(_shell, kind, value, trace, tb_offset=None):
        sys.stderr.write(errors.text(kind, value, trace.tb_next or trace))

    shell.events.register("pre_run_cell", bring)
    shell.set_custom_exc((names.SlapException, AttributeError), short)
    app.start()
    return 0


def bpython(main, catalogue, settings: dict) -> int | None:
    import bpython
    import threading

    def bring():
        """The names it completes; those of the Master when it has answered."""
        for name in catalogue.names():
            main.__dict__.setdefault(name, catalogue.find(name))

    threading.Thread(target=bring, daemon=True).start()
    bpython.embed(locals_=main.__dict__, banner=banner(
        settings, catalogue, "bpython %s, %s" % (bpython.__version__, python_version())))
    return 0
