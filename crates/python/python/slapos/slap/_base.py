"""What the classes of the SLAP library have in common."""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger

    from ._connection import Connection


class Connected:
    """What talks to a Master."""

    def __init__(self, connection_helper: Connection | None = None, hateoas_navigator=None):
        if connection_helper is not None:
            self._connection_helper = connection_helper
            self._hateoas_navigator = hateoas_navigator

    if not TYPE_CHECKING:
        def __getattr__(self, name: str):
            if name in ("_connection_helper", "_hateoas_navigator"):
                raise AttributeError(
                    "this %s is not connected to a Master; get one from slapos.slap.slap()"
                    % type(self).__name__
                )
            raise AttributeError("%r object has no attribute %r" % (type(self).__name__, name))

    def _connect(self, other: Connected) -> None:
        self._connection_helper = other._connection_helper
        self._hateoas_navigator = other._hateoas_navigator

    def _post(self, call: str, auth: tuple | None = None, **fields) -> bytes:
        return self._connection_helper.POST(call, data=fields, auth=auth)


def url(value) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a software release is named by its URL, not by %r" % (value,))
    return value


def dictionary(value, name: str) -> dict:
    if not isinstance(value, dict):
        raise ValueError("%s must be a dictionary, not %r" % (name, value))
    return value


def log(logger: Logger | None) -> None:
    if logger is None:
        import logging
        logger = logging.getLogger(__name__)
    logger.exception("this error could not be reported to the Master")
