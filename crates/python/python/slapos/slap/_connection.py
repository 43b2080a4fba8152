"""The connection all objects of one :class:`slapos.slap.slap` share."""
from __future__ import annotations

from . import _native
from .exception import NotFoundError

#: Whom to believe at which Master where a program does not say: {normalised URL: CA file or False}.
#: The console fills it from the configuration.
trusted: dict = {}


def text(value) -> str:
    """A value as a form carries it."""
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str) else str(value)


class Connection:
    """Calls of a Master by their names."""

    def __init__(self, master_url, key_file, cert_file, master_ca_file, timeout, rest_url):
        def connect(authority):
            return _native.Connection(
                master_url,
                key_file=key_file or None,
                cert_file=cert_file or None,
                ca_file=authority or None,
                verify=authority is not False,
                timeout=timeout,
                rest_url=rest_url or None,
            )

        self.native = connect(master_ca_file)
        #: The Master's URL, ending in `/`.
        self.slapgrid_uri: str = self.native.master_url
        if master_ca_file is None and self.slapgrid_uri in trusted:
            self.native = connect(trusted[self.slapgrid_uri])

    def GET(self, path: str, params: dict | None = None, auth=None) -> bytes:
        """Read from a call; its answer as it came."""
        return self.native.ask(path, _fields(params)).encode()

    def POST(self, path: str, data: dict | None = None, auth: tuple | None = None) -> bytes:
        """Write to a call, on behalf of a partition if `auth` is (node, partition)."""
        return self.native.tell(path, _fields(data), auth).encode()

    def value(self, path: str, params: dict):
        """Read a value from a call."""
        return _native.loads(self.GET(path, params))

    def getComputerInformation(self, computer_id: str):
        """The node with all that is on it, by the call's old name."""
        return self.value("getComputerInformation", {"computer_id": computer_id})

    def getFullComputerInformation(self, computer_id: str):
        """The node with all that is on it."""
        if not computer_id:
            raise NotFoundError("a node has no empty reference")
        try:
            return self.value("getFullComputerInformation", {"computer_id": computer_id})
        except NotFoundError:
            pass
        # Old Masters know the other name only.
        return self.getComputerInformation(computer_id)


def _fields(values: dict | None) -> list:
    return [(name, text(value)) for name, value in (values or {}).items()]
