"""Runs promise plugins of one partition, one after the other, each in a process of its own.

Started by the node with the release's interpreter. Reads one JSON document from its standard input;
prints what plugins print, and one line with a JSON document per plugin, marked by a word the node
chose. See crates/node/src/promise/plugin.rs.
"""
import sys

# The partition is the working directory: nothing of it shall stand in for a module.
if sys.path and sys.path[0] == "":
    del sys.path[0]
sys.dont_write_bytecode = True

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import select
import signal
import time
import traceback

RESERVED = ("log-folder", "partition-folder", "debug", "name", "path", "queue", "periodicity")


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


def warm_up(promises):
    """Imports what plugins usually need once, before the processes are forked."""
    try:
        sys.path[0:0] = plugin_path(promises[0]["path"])
        import slapos.grid.promise.generic  # noqa: F401
    except Exception:
        pass


def load(promise):
    title = promise["title"]
    if not (title[:1].isalpha() or title[:1] == "_"):
        raise ValueError(
            "the name of promise plugin %r must begin with a letter or '_'" % promise["name"])
    # Not the title alone: a plugin may be called json.py.
    name = "promise_plugin_" + title
    spec = importlib.util.spec_from_file_location(name, promise["path"])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    if not hasattr(module, "RunPromise"):
        raise AttributeError("promise plugin %r has no class RunPromise" % promise["name"])
    return module


def configuration(order, promise, module, results):
    config = dict(order["config"])
    extra = getattr(module, "extra_config_dict", None)
    if extra is not None:
        if not isinstance(extra, dict):
            raise ValueError("extra_config_dict is not a dictionary")
        for key in extra:
            if key in config or key in RESERVED:
                raise ValueError("extra_config_dict may not set %r" % key)
        config.update(extra)
    config.update({
        "log-folder": order["log_folder"],
        "partition-folder": order["partition_folder"],
        "debug": False,
        "name": promise["name"],
        "path": promise["path"],
        "queue": results,
    })
    return config


def answer(item):
    """A result object as the node wants it; None when the promise does nothing in this mode."""
    item = getattr(item, "item", item)
    kind = type(item).__name__
    if kind == "EmptyResult" or item is None:
        return None
    failed = item.hasFailed()
    date = getattr(item, "date", None)
    if date is None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime())
    else:
        stamp = date.strftime("%Y-%m-%dT%H:%M:%S+0000")
    message = getattr(item, "message", None)
    return {
        "type": "Anomaly Result" if kind == "AnomalyResult" else "Test Result",
        "failed": bool(failed),
        "date": stamp,
        "message": None if message is None else str(message),
    }


def in_child(order, promise, can_bang, write):
    os.chdir(order["partition_folder"])
    sys.meta_path.append(StandIns(order["modules"]))
    module = load(promise)
    results = Results()
    instance = module.RunPromise(configuration(order, promise, module, results))
    periodicity = instance.getPeriodicity()
    write({"facts": {
        "is_tested": bool(instance.isTested()),
        "is_anomaly_detected": bool(instance.isAnomalyDetected()),
        "periodicity": periodicity,
    }})
    instance.run(order["check_anomaly"], can_bang)
    for item in results.items:
        found = answer(item)
        write({"outcome": "empty" if found is None else {"answer": found}})


def kill(pid, sig):
    try:
        os.killpg(pid, sig)
    except OSError:
        try:
            os.kill(pid, sig)
        except OSError:
            pass


def run(order, promise, can_bang):
    """Runs one plugin in a child; what it told, completed."""
    begin = time.time()
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            os.setpgid(0, 0)
            stream = os.fdopen(writer, "w")

            def write(document):
                stream.write(json.dumps(document) + "\n")
                stream.flush()

            in_child(order, promise, can_bang, write)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(writer)
    try:
        os.setpgid(pid, pid)
    except OSError:
        pass
    data = b""
    ended = timed_out = False
    deadline = begin + order["timeout"]
    # Its end is noticed by the end of the pipe; a process it left behind may keep that open.
    while not ended:
        ready, _, _ = select.select([reader], [], [], 0.05)
        if ready:
            piece = os.read(reader, 65536)
            data += piece
            if not piece:
                ended = True
        if not ended and os.waitpid(pid, os.WNOHANG)[0] == pid:
            while select.select([reader], [], [], 0)[0]:
                piece = os.read(reader, 65536)
                if not piece:
                    break
                data += piece
            os.close(reader)
            break
        if not ended and time.time() >= deadline:
            timed_out = True
            kill(pid, signal.SIGTERM)
            limit = time.time() + 1
            while time.time() < limit and os.waitpid(pid, os.WNOHANG)[0] != pid:
                time.sleep(0.02)
            else:
                kill(pid, signal.SIGKILL)
            os.close(reader)
            break
    else:
        os.close(reader)
        # The pipe may end before the process does.
        while time.time() < deadline:
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                break
            time.sleep(0.005)
        else:
            kill(pid, signal.SIGKILL)
    # What it may have left in its group goes too.
    kill(pid, signal.SIGKILL)
    try:
        os.waitpid(pid, 0)
    except OSError:
        pass
    report = {
        "title": promise["title"],
        "elapsed": time.time() - begin,
        "facts": None,
        "outcome": "timed_out" if timed_out else "no_output",
    }
    for line in data.decode("utf-8", "replace").splitlines():
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if timed_out:
            document.pop("outcome", None)
        report.update(document)
    return report


def main():
    order = json.loads(sys.stdin.read())
    os.dup2(1, 2)
    can_bang = True
    if order["promises"]:
        warm_up(order["promises"])
    for promise in order["promises"]:
        report = run(order, promise, can_bang)
        outcome = report["outcome"]
        if isinstance(outcome, dict):
            result = outcome["answer"]
            if result["failed"] and result["type"] == "Anomaly Result":
                # One bang reprocesses the whole instance tree: more of them help nobody.
                can_bang = False
        sys.stdout.write(order["token"] + json.dumps(report) + "\n")
        sys.stdout.flush()


main()
