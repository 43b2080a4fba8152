"""What can go wrong. Every exception of the library is a :class:`SlapException`."""
from __future__ import annotations

import sys


class SlapException(Exception):
    """The Master could not do what was asked, or its answer makes no sense."""

    #: The HTTP status, where there was one.
    status: int | None = None


class ResourceNotReady(SlapException):
    """The Master has accepted it and has nothing to show yet. Ask again later."""


class NotFoundError(SlapException):
    """The Master does not know it, or has no room for it."""


class ServerError(SlapException):
    """The Master, or what stands before it, failed."""


class ConnectionError(SlapException):
    """Nobody answers. Not Python's own exception of this name."""


class RefusedError(SlapException):
    """The Master refuses the call: it is wrong, or not allowed."""


class AuthenticationError(RefusedError):
    """The Master does not let us in, or we do not believe that it is the Master."""


class TLSError(AuthenticationError, ConnectionError):
    """There is no trustworthy connection: one side does not accept the other's certificate."""


def _refused(kind: str, text: str, status: int) -> RefusedError:
    """A refusal, which is also what programs written for upstream's library catch.

    That is an exception of the library `requests`, which is not ours: who catches it has imported
    it.
    """
    ours = {"AuthenticationError": AuthenticationError}.get(kind, RefusedError)
    error: RefusedError
    try:
        requests = sys.modules["requests"]
        both = type(ours.__name__, (ours, requests.exceptions.HTTPError), {
            "__module__": ours.__module__, "__doc__": ours.__doc__})
        response = requests.Response()
        response.status_code = status
        response.reason = text
        error = both(text, response=response)
    except (KeyError, AttributeError, TypeError):
        error = ours(text)
    error.status = status
    return error
