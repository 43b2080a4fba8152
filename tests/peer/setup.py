#!/usr/bin/env python3
"""Installs the upstream peer: the released slapos.core, from PyPI.

    setup.py DIRECTORY

makes two virtual environments (Python 3.9 or later, python3-venv on Debian;
no compiler) and does nothing if they are there already:

    DIRECTORY/client   command line, Python library, "slapos proxy"
    DIRECTORY/node     "slapos node format, software, instance, report", with
                       the buildout and the recipes it builds releases with

The last line printed is JSON: {"client": ".../bin/slapos", "node": "..."}.
Several may run at the same time: one works, the others wait for it.
"""
import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

REQUIREMENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "requirements.txt")
LATEST = "1.26.1"
# The node commands of 1.26 do not load before Python 3.12 (they vanish from
# the command line). 1.24 is the last one that has them there.
BEFORE_PYTHON_3_12 = "1.24.1"

# slapos.core asks for netifaces, which has no wheel for Python 3.10 and later.
# netifaces2 provides the module; this tells setuptools so.
ALIAS = """Metadata-Version: 2.1
Name: netifaces
Version: 0.11.0
Summary: alias of netifaces2, which provides the module
"""


def say(text):
    print("peer: " + text, flush=True)


def install(environment, core):
    with open(REQUIREMENTS, "rb") as f:
        wanted = hashlib.sha256(
            f.read() + core.encode() + ALIAS.encode() + sys.version.encode()
            + os.path.realpath(sys.executable).encode()).hexdigest()
    stamp = os.path.join(environment, "peer.stamp")
    try:
        with open(stamp) as f:
            if f.read() == wanted:
                say("slapos.core %s is in %s" % (core, environment))
                return
    except FileNotFoundError:
        pass

    say("installing slapos.core %s in %s (about 15 s)" % (core, environment))
    start = time.monotonic()
    shutil.rmtree(environment, ignore_errors=True)
    run(sys.executable, "-m", "venv", environment)
    python = os.path.join(environment, "bin", "python")
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q",
           "install", "--no-deps")
    # The rest is built with these. A file with --no-binary in it would make the
    # old pip of the fresh environment complain, so they are named here.
    run(*pip, "--only-binary", ":all:", *pins("pip", "setuptools", "wheel"))
    run(*pip, "--no-build-isolation", "-r", REQUIREMENTS, "slapos.core==" + core)
    packages = subprocess.check_output(
        (python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"),
        text=True).strip()
    alias = os.path.join(packages, "netifaces-0.11.0.dist-info")
    os.makedirs(alias, exist_ok=True)
    with open(os.path.join(alias, "METADATA"), "w") as f:
        f.write(ALIAS)
    run(python, "-m", "pip", "--disable-pip-version-check", "-q", "check")
    with open(stamp, "w") as f:
        f.write(wanted)
    say("done in %.0f s" % (time.monotonic() - start))


def pins(*names):
    with open(REQUIREMENTS) as f:
        lines = f.read().split("\n")
    return [line for line in lines if line.partition("==")[0] in names]


def run(*command):
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        sys.exit("peer: failed with exit code %s: %s" % (error.returncode, " ".join(command)))


def main(directory):
    if sys.version_info < (3, 9):
        sys.exit("peer: needs Python 3.9 or later, this is " + sys.version.split()[0])
    directory = os.path.abspath(directory)
    os.umask(0o022)  # partition users must be able to read it
    os.makedirs(directory, exist_ok=True)
    client = node = os.path.join(directory, "client")
    with open(os.path.join(directory, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install(client, LATEST)
        if sys.version_info < (3, 12):
            node = os.path.join(directory, "node")
            install(node, BEFORE_PYTHON_3_12)
    print(json.dumps({
        "client": os.path.join(client, "bin", "slapos"),
        "node": os.path.join(node, "bin", "slapos"),
    }))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIRECTORY")
    main(parser.parse_args().directory)
