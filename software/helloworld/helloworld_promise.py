"""The two promises of helloworld.

As a plugin (etc/plugin) the page's health address must answer, and answer for
this partition. As a program (etc/promise), `helloworld_promise.py HOST PORT`,
something must listen there.

A service that was started a moment ago needs a little time, so both wait up
to WAIT_SECONDS before they complain.
"""
import json
import socket
import sys
import time
from urllib.request import ProxyHandler, build_opener

WAIT_SECONDS = 8
PAUSE_SECONDS = 0.1


def until_deadline(check):
    """Calls check until it does not raise OSError, or raises the last one."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return check()
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(PAUSE_SECONDS)


def fetch_health(url):
    # Straight to the instance, whatever proxy the node may be set to use.
    with build_opener(ProxyHandler({})).open(url, timeout=5) as answer:
        return json.loads(answer.read(65536).decode("utf-8"))


def main(host, port):
    try:
        until_deadline(
            lambda: socket.create_connection((host, int(port)), timeout=5).close())
    except OSError as error:
        sys.exit("nothing listens on %s port %s: %s" % (host, port, error))
    print("%s port %s accepts connections" % (host, port))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: helloworld_promise.py HOST PORT")
    main(*sys.argv[1:])
else:
    from zope.interface import implementer
    from slapos.grid.promise import interface
    from slapos.grid.promise.generic import GenericPromise

    @implementer(interface.IPromise)
    class RunPromise(GenericPromise):
        def __init__(self, config):
            super(RunPromise, self).__init__(config)
            self.setPeriodicity(minute=2)

        def sense(self):
            url = self.getConfig("url")
            try:
                health = until_deadline(lambda: fetch_health(url))
            except (OSError, ValueError) as error:
                self.logger.error("%s does not answer: %s", url, error)
                return
            if health.get("partition") != self.getConfig("partition"):
                self.logger.error(
                    "%s is answered by another instance: %r", url, health)
                return
            self.logger.info("%s answers", url)
