"""The software products of a Master."""
from __future__ import annotations

from .exception import SlapException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger
    from typing import Iterator

    from .slap import slap


class SoftwareProductCollection:
    """The software products of a Master: the most suited release of each, by its name.

        product.kvm            product["mysql-5.1"]            product.get("mysql-5.1")

    Each access asks the Master. Iterating, `len()` and `dir()` tell which products there are.
    """

    def __init__(self, logger: Logger, slap: slap):
        self.logger = logger
        self.slap = slap

    def get(self, software_product: str, *default) -> str:
        """The URL of the best release of this product.

        Without a default, an unknown product raises AttributeError.
        """
        # Python and the shells look for special names on every object.
        if not software_product.startswith("_"):
            try:
                return self._best(software_product)
            except LookupError:
                pass
        if default:
            return default[0]
        raise AttributeError(self._unknown(software_product))

    __getattr__ = get

    def __getitem__(self, name: str) -> str:
        try:
            return self._best(name)
        except LookupError:
            pass
        raise KeyError(self._unknown(name))

    def _best(self, name: str) -> str:
        """The URL of the best release, or LookupError."""
        releases = self.slap.getSoftwareReleaseListFromSoftwareProduct(name)
        if releases:
            self.logger.debug("%s is %s", name, releases[0])
            return releases[0]
        for known in self._names():
            if known != name and identifier(known) == name:
                return self._best(known)
        raise LookupError(name)

    def _unknown(self, name: str) -> str:
        if name.startswith("_"):
            return name
        import difflib
        said = "the Master knows no software product named %r" % name
        known = self._names()
        near = difflib.get_close_matches(name, known, 3, 0.6)
        if near:
            return "%s; did you mean %s?" % (said, " or ".join(map(repr, near)))
        return "%s; it has %s" % (said, ", ".join(known[:20])) if known else said

    def _catalogue(self) -> dict:
        return self.slap._catalogue() or {}

    def _names(self) -> list:
        """The products as far as they are known."""
        try:
            return sorted(self._catalogue())
        except SlapException:
            return []

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._catalogue()))

    def __len__(self) -> int:
        return len(self._catalogue())

    def __bool__(self) -> bool:
        return True

    def __contains__(self, name: object) -> bool:
        return name in self._catalogue()

    def __dir__(self) -> list:
        return sorted({"get", "logger", "slap", *map(identifier, self._names())})

    def _ipython_key_completions_(self) -> list:
        return sorted(self._catalogue())

    def __repr__(self) -> str:
        try:
            names = ", ".join(self)
        except SlapException as error:
            return "<SoftwareProductCollection of a Master that does not answer: %s>" % error
        return "<SoftwareProductCollection %s>" % (names or "without products")


def identifier(name: str) -> str:
    """A product's name as a name of Python: `mysql-5.1` is `mysql_5_1`."""
    name = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
    return "_" + name if name[:1].isdigit() else name
