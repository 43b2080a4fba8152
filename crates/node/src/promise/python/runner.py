"""Runs promise plugins of one partition, each in a process of its own.

Started by the node with the release's interpreter, as the partition's user, and kept as long as
plugins are due. Reads JSON documents from its standard input, one per line: first this program (a
line that starts it does), what it needs to know once, then orders. Prints what plugins print, and
between that, each on a line of its own and marked by a word the node chose, one JSON document per
plugin and one at the end of an order. Ends with its input. See crates/node/src/promise/plugin.rs.
"""
import sys

sys.dont_write_bytecode = True

import ast
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import os
import resource
import select
import signal
import time
import traceback

# What a plugin may allocate, what is read from it, and what is passed on of what it prints.
MEMORY_MAX = 2 << 30
TOLD_MAX = 1 << 20
PRINTED_MAX = 10000
# Seconds between asking a plugin to end and making it.
MERCY = 1.0


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Offers modules under their usual names to plugins whose own path lacks them.

    Last among the finders, so it is asked only for what nothing else provides.
    """

    def __init__(self, sources):
        self.sources = sources
        self.packages = set()
        for name in sources:
            while "." in name:
                name = name.rpartition(".")[0]
                self.packages.add(name)

    def find_spec(self, fullname, path=None, target=None):
        if fullname in self.sources or fullname in self.packages:
            return importlib.machinery.ModuleSpec(
                fullname, self, is_package=fullname in self.packages)
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__name__
        source = self.sources.get(name)
        if source is not None:
            exec(compile(source, "<%s of the SlapOS node>" % name, "exec"), module.__dict__)


class Loaded(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives back what is loaded already.

    Generated plugins forget all modules of slapos and pkg_resources before they import them from
    their own path. Where that is the path they were loaded from, loading them again would give the
    same, slowly.
    """

    def __init__(self, path):
        self.path = path
        self.modules = {
            name: module for name, module in sys.modules.items()
            if "slapos" in name or "pkg_resources" in name}
        self.specs = {
            name: getattr(module, "__spec__", None) for name, module in self.modules.items()}

    def find_spec(self, fullname, path=None, target=None):
        if fullname in self.modules and sys.path[:len(self.path)] == self.path:
            return importlib.machinery.ModuleSpec(fullname, self)
        return None

    def create_module(self, spec):
        return self.modules[spec.name]

    def exec_module(self, module):
        name = module.__spec__.name
        module.__spec__ = self.specs[name]


class Results(object):
    """What a promise puts its result into; stands in for a multiprocessing queue."""

    def __init__(self):
        self.items = []

    def put(self, item, block=True, timeout=None):
        self.items.append(item)

    put_nowait = put

    def close(self):
        pass

    cancel_join_thread = join_thread = close


def plugin_path(path):
    """The directories a generated plugin puts before everything else, if it does."""
    with open(path, "rb") as f:
        tree = ast.parse(f.read())
    for node in tree.body:
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            if (isinstance(target, ast.Subscript)
                    and isinstance(target.value, ast.Attribute)
                    and target.value.attr == "path"):
                return [str(entry) for entry in ast.literal_eval(node.value)]
            return []
    return []


class TooLong(BaseException):
    pass


def too_long(signum, frame):
    raise TooLong()


def warm_up(setup):
    """Imports what plugins usually need once, before the processes are forked."""
    signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, setup["timeout"])
    try:
        path = plugin_path(setup["first"])
        sys.path[0:0] = path
        import slapos.grid.promise.generic  # noqa: F401
        signal.setitimer(signal.ITIMER_REAL, 0)
        if path:
            sys.meta_path.insert(0, Loaded(path))
    except (Exception, TooLong):
        # Each plugin says itself what it lacks.
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    gc.collect()
    if hasattr(gc, "freeze"):
        gc.freeze()


def load(promise):
    title = promise["title"]
    if not (title[:1].isalpha() or title[:1] == "_"):
        raise ValueError(
            "the name of promise plugin %r must begin with a letter or '_'" % promise["name"])
    # Plugins may import each other, but none shall hide a module of the release.
    sys.path.append(os.path.dirname(promise["path"]))
    # Not the title alone: a plugin may be called json.py.
    name = "promise_plugin_" + title
    spec = importlib.util.spec_from_file_location(name, promise["path"])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    if not hasattr(module, "RunPromise"):
        raise AttributeError("promise plugin %r has no class RunPromise" % promise["name"])
    from slapos.grid.promise import generic, interface
    if not interface.IPromise.implementedBy(module.RunPromise):
        raise RuntimeError(
            "class RunPromise of %r must be declared with @implementer(interface.IPromise)"
            % promise["name"])
    if not issubclass(module.RunPromise, generic.GenericPromise):
        raise RuntimeError(
            "class RunPromise of %r must be derived from GenericPromise" % promise["name"])
    return module


def configuration(order, promise, module, results):
    config = dict(order["config"])
    config.update({
        "log-folder": order["log_folder"],
        "partition-folder": order["partition_folder"],
        "debug": None,
        "name": promise["name"],
        "path": promise["path"],
        "queue": results,
    })
    extra = getattr(module, "extra_config_dict", None)
    if extra is not None:
        if not isinstance(extra, dict):
            raise ValueError("extra_config_dict is not a dictionary")
        for key in extra:
            if key in config:
                raise ValueError("extra_config_dict may not set %r" % key)
        config.update(extra)
    return config


def kind_of(item):
    kind = getattr(item, "type", None)
    return kind() if callable(kind) else str(kind)


def answer(item):
    """A result object as the node wants it; None when the promise does nothing in this mode."""
    item = getattr(item, "item", item)
    if item is None or kind_of(item) == "Empty Result":
        return None
    date = getattr(item, "date", None)
    if date is None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime())
    else:
        stamp = date.strftime("%Y-%m-%dT%H:%M:%S+0000")
    message = getattr(item, "message", None)
    return {
        "type": "Anomaly Result" if kind_of(item) == "Anomaly Result" else "Test Result",
        "failed": bool(item.hasFailed()),
        "date": stamp,
        "message": None if message is None else str(message)[-6000:],
    }


def one_bang(instance, permit, write):
    """At most one promise of a run bangs: one reprocesses the whole instance tree already."""
    bang = getattr(instance, "_GenericPromise__bang", None)
    if bang is None:
        return

    def once(message):
        try:
            if not os.read(permit, 1):
                return
        except OSError:
            return
        said = bang(message)
        if isinstance(said, str):
            # A stand-in asks the node to do it.
            write({"bang": said})

    instance._GenericPromise__bang = once


def in_child(order, promise, permit, write):
    os.chdir(order["partition_folder"])
    module = load(promise)
    results = Results()
    promise_class = module.RunPromise
    instance = promise_class(configuration(order, promise, module, results))
    facts = {
        "is_tested": bool(getattr(instance, "isTested", lambda: True)()),
        "is_anomaly_detected": bool(getattr(instance, "isAnomalyDetected", lambda: True)()),
        "periodicity": instance.getPeriodicity(),
    }
    try:
        facts["module_file"] = os.path.splitext(inspect.getfile(promise_class))[0] + ".py"
        facts["module_file_mtime"] = os.stat(facts["module_file"]).st_mtime
    except (OSError, TypeError):
        facts["module_file"] = None
    write({"facts": facts})
    one_bang(instance, permit, write)
    instance.run(order["check_anomaly"], order["check_anomaly"])
    for item in results.items:
        found = answer(item)
        write({"outcome": "empty" if found is None else {"answer": found}})


def descendants(pid):
    found = []
    try:
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/children" % (pid, task)) as f:
                for child in f.read().split():
                    found.append(int(child))
                    found.extend(descendants(int(child)))
    except (OSError, ValueError):
        pass
    return found


def kill(pid, sig):
    for send, who in ((os.killpg, pid), (os.kill, pid)):
        try:
            send(who, sig)
        except OSError:
            pass


class Pipe(object):
    """What a plugin tells or prints, as much of it as is wanted."""

    def __init__(self, fd):
        os.set_blocking(fd, False)
        self.fd = fd
        self.is_open = True
        self.data = b""

    def read(self):
        while self.is_open:
            try:
                piece = os.read(self.fd, 65536)
            except BlockingIOError:
                return
            except OSError:
                piece = b""
            if not piece:
                self.close()
            elif len(self.data) < TOLD_MAX:
                self.data += piece

    def close(self):
        if self.is_open:
            self.is_open = False
            os.close(self.fd)

    def text(self):
        return self.data.decode("utf-8", "replace")


class Running(object):
    """A plugin that runs."""

    def __init__(self, order, promise, permit):
        self.promise = promise
        self.begin = time.time()
        self.deadline = self.begin + order["timeout"]
        self.timed_out = self.killed = False
        self.left = []
        told, teller = os.pipe()
        printed, printer = os.pipe()
        self.told, self.printed = Pipe(told), Pipe(printed)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            child(order, promise, permit, teller, printer)
        os.close(teller)
        os.close(printer)
        try:
            os.setpgid(self.pid, self.pid)
        except OSError:
            pass

    def read(self):
        self.told.read()
        self.printed.read()

    def pipes(self):
        return [pipe.fd for pipe in (self.told, self.printed) if pipe.is_open]

    def has_ended(self):
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
        except OSError:
            return True

    def hurry(self, now):
        """Ends it when its time is up."""
        if now < self.deadline:
            return
        if not self.timed_out:
            self.timed_out = True
            self.deadline = now + MERCY
            self.left = descendants(self.pid)
            kill(self.pid, signal.SIGTERM)
        elif not self.killed:
            self.killed = True
            self.deadline = now + 3600
            self.left += descendants(self.pid)
            kill(self.pid, signal.SIGKILL)

    def report(self, order):
        """What it told, complete."""
        self.read()
        self.told.close()
        self.printed.close()
        # What it may have left in its group goes too.
        kill(self.pid, signal.SIGKILL)
        for pid in self.left:
            kill(pid, signal.SIGKILL)
        report = {
            "order": order["order"],
            "title": self.promise["title"],
            "elapsed": time.time() - self.begin,
            "facts": None,
            "outcome": "timed_out" if self.timed_out else "no_output",
        }
        for line in self.told.text().splitlines():
            try:
                document = dict(json.loads(line))
            except (TypeError, ValueError):
                continue
            for key in ("facts", "bang", "outcome"):
                if key in document and not (self.timed_out and key == "outcome"):
                    report[key] = document[key]
        return report


def child(order, promise, permit, teller, printer):
    """Runs one plugin, in a process forked for it."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(printer, 1)
        os.dup2(printer, 2)
        # Should whoever watches the time be gone, the kernel does.
        signal.setitimer(signal.ITIMER_REAL, order["timeout"] + 10)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MAX, MEMORY_MAX))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        stream = os.fdopen(teller, "w", encoding="utf-8", errors="backslashreplace")

        def write(document):
            stream.write(json.dumps(document) + "\n")
            stream.flush()

        in_child(order, promise, permit, write)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def obey(order, wakeup, say, tell):
    permit, grant = os.pipe()
    os.set_blocking(permit, False)
    os.write(grant, b"!")
    os.close(grant)
    waiting = list(reversed(order["promises"]))
    running = []
    while waiting or running:
        while waiting and len(running) < order["parallel"]:
            running.append(Running(order, waiting.pop(), permit))
        now = time.time()
        limit = max(0.0, min(one.deadline for one in running) - now)
        pipes = [fd for one in running for fd in one.pipes()]
        select.select([wakeup] + pipes, [], [], min(limit, 60.0))
        try:
            os.read(wakeup, 4096)
        except BlockingIOError:
            pass
        now = time.time()
        for one in list(running):
            one.read()
            if one.has_ended():
                running.remove(one)
                report = one.report(order)
                say(one.printed.text()[-PRINTED_MAX:])
                tell(report)
            else:
                one.hurry(now)
    os.close(permit)
    tell({"order": order["order"], "done": True})


def main():
    setup = json.loads(sys.stdin.readline())
    os.dup2(1, 2)
    sys.meta_path.append(StandIns(setup["modules"]))
    warm_up(setup)
    wakeup, writer = os.pipe()
    os.set_blocking(wakeup, False)
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    signal.set_wakeup_fd(writer)

    def say(text):
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(1, data):]

    def tell(document):
        # The text before it may have no end.
        say("\n" + setup["token"] + json.dumps(document, ensure_ascii=False) + "\n")

    while True:
        line = sys.stdin.readline()
        if not line:
            return
        obey(json.loads(line), wakeup, say, tell)


main()
