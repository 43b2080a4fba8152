"""Where `slapos console` starts in the user's Python. Any Python 3 can read this file."""
import sys

HINT = "hint: install SlapOS with `make install`, or the SDK into this Python: pip install slapos-sdk"


def main():
    if sys.version_info < (3, 9):
        return fail(
            "%s is Python %d.%d, and the console needs 3.9 or newer"
            % ((sys.executable,) + tuple(sys.version_info[:2])),
            "hint: name another one in the variable SLAPOS_PYTHON")
    import json
    import os

    # Whoever is started from the console has no use for it.
    settings = json.loads(os.environ.pop("SLAPOS_CONSOLE"))
    # Python has put this directory where the user's script or current directory belongs.
    if sys.path[0:1] == [os.path.dirname(os.path.abspath(__file__))]:
        del sys.path[0]
    root = settings["modules"]
    if settings["temporary"]:
        import atexit
        import shutil
        atexit.register(shutil.rmtree, root, ignore_errors=True)
    own = settings["own_module"]
    sys.path.insert(0 if own else len(sys.path), root)
    import slapos

    # Packages of setuptools' old kind fix the places of `slapos` when Python starts.
    place = os.path.join(root, "slapos")
    others = [path for path in slapos.__path__ if path != place]
    slapos.__path__ = [place] + others if own else others + [place]
    try:
        if settings["native"]:
            load("slapos.slap._native", settings["native"])
        import slapos.slap._native
    except ImportError as error:
        return fail("the console's Python module cannot be loaded: %s" % error, HINT)
    sys.path.remove(root)
    from slapos.console import session
    return session.run(settings)


def load(name, path):
    """Import an extension module from where it was built."""
    import importlib.machinery
    import importlib.util

    loader = importlib.machinery.ExtensionFileLoader(name, path)
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_file_location(name, path, loader=loader))
    loader.exec_module(module)
    sys.modules[name] = module


def fail(message, hint):
    sys.stderr.write("error: %s\n%s\n" % (message, hint))
    return 1


if __name__ == "__main__":
    sys.exit(main())
