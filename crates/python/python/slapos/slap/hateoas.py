"""What a list of the Master holds."""
from __future__ import annotations


class TempDocument:
    """A row of a list; what the Master says of it are its attributes, with `_` before them."""

    def __init__(self, **values):
        self.__dict__.update(values)

    def __repr__(self) -> str:
        values = ", ".join("%s=%r" % item for item in sorted(self.__dict__.items()))
        return "<%s %s>" % (type(self).__name__, values)


class SlapHateoasNavigator:
    """Where the Master's documents start."""

    def __init__(self, connection, uri):
        self._connection = connection
        self.slapos_master_hateoas_uri = uri
