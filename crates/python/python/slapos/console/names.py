"""The global names of the console, those included that only the Master knows."""
from __future__ import annotations

import builtins
import threading
import time

import slapos.slap
from slapos.slap import SlapException, SoftwareProductCollection
from slapos.slap._products import identifier

#: How long the Master's catalogue is believed, in seconds, and how long it is not asked again after
#: it did not answer.
FRESH = 60
#: How long a mistyped name may wait for a Master that does not answer, in seconds.
PATIENCE = 5


class Config:
    """What the configuration says."""

    def __init__(self, settings: dict):
        self.file = settings["file"]
        self.master_url = settings["master_url"]
        self.key_file = settings["key_file"]
        self.cert_file = settings["cert_file"]
        self.master_rest_url = settings["master_rest_url"]
        self.master_ca_file = settings["master_ca_file"]

    def __repr__(self) -> str:
        return "<config %s: Master %s>" % (self.file, self.master_url)


class QuietLogger:
    """The results are what a person wants to see."""

    def debug(self, *_):
        pass

    info = debug


class Catalogue:
    """The products of the Master and the aliases of the configuration: name to URL."""

    def __init__(self, connection: slapos.slap.slap, aliases: dict):
        self._slap = connection
        self._aliases = aliases
        self._products: dict = {}
        self._listed = False
        self._asked: float | None = None
        self.error: SlapException | None = None
        self._lock = threading.Lock()

    def known(self) -> dict:
        """All of them; those of the last answer when the Master does not answer."""
        with self._lock:
            if self._asked is None or time.monotonic() - self._asked > FRESH:
                try:
                    products = self._slap._catalogue()
                    self._listed = products is not None
                    self._products = products or {}
                    self.error = None
                except (SlapException, OSError, ValueError) as error:
                    self.error = error
                self._asked = time.monotonic()
            return {**self._products, **self._aliases}

    def soon(self, patience: float) -> dict:
        """What is known after this time at the latest."""
        asking = threading.Thread(target=self.known, daemon=True)
        asking.start()
        asking.join(patience)
        return {**self._products, **self._aliases}

    def names(self) -> list:
        """Every name that works in Python."""
        return sorted({identifier(name) for name in self.known()})

    def find(self, name: str) -> str:
        """The URL of this name, in its own form or Python's; KeyError if there is none."""
        # An alias is the user's own word, and needs no Master.
        for known in (self._aliases, self.known):
            entries = known() if callable(known) else known
            if name in entries:
                return entries[name]
            for other in entries:
                if identifier(other) == name:
                    return entries[other]
        if not self._listed and self.error is None:
            # This Master lists no products, but knows them by name.
            found = self._slap.getSoftwareReleaseListFromSoftwareProduct(name)
            if found:
                return found[0]
        raise KeyError(name)


class SoftwareList(dict):
    """Every software release the Master supports, and every alias: name to URL.

    The Master is asked when it is looked at.
    """

    def __init__(self, catalogue: Catalogue):
        super().__init__()
        self._catalogue = catalogue

    def _look(self) -> dict:
        known = self._catalogue.known()
        if not known and self._catalogue.error:
            raise self._catalogue.error
        if dict.keys(self) != known.keys() or list(dict.values(self)) != list(known.values()):
            dict.clear(self)
            dict.update(self, known)
        return known

    def __missing__(self, name):
        return self._catalogue.find(name)

    def _ipython_key_completions_(self) -> list:
        return list(self._look())


def _looking(name: str):
    method = getattr(dict, name)

    def looking(self, *arguments):
        self._look()
        return method(self, *arguments)

    looking.__name__ = name
    looking.__doc__ = method.__doc__
    return looking


for _name in ("__getitem__", "__iter__", "__len__", "__contains__", "__repr__", "__eq__", "__ne__",
              "__or__", "__reversed__", "keys", "values", "items", "get", "copy"):
    setattr(SoftwareList, _name, _looking(_name))
SoftwareList.__hash__ = None


class Builtins(dict):
    """Python's own names, and behind them the names of products and aliases.

    A name is looked up here last, so that a program's own names always win; the Master is asked
    only about a name that nobody else knows.
    """

    def __init__(self, catalogue: Catalogue):
        super().__init__(builtins.__dict__)
        self._catalogue = catalogue

    def __missing__(self, name: str):
        if name in builtins.__dict__:  # such as `_`, the last result
            return builtins.__dict__[name]
        if name.startswith("_"):
            raise KeyError(name)
        try:
            return self._catalogue.find(name)
        except KeyError:
            error = self._catalogue.error
        except SlapException as failure:
            error = failure
        if error is None:
            raise KeyError(name)
        raise NameError(
            "name %r is not defined, and the Master cannot be asked for a product of this "
            "name: %s" % (name, error)) from None


class Product(SoftwareProductCollection):
    """The products of the Master; where it has none of a name, the alias of the configuration."""

    def __init__(self, logger, connection, aliases: dict):
        super().__init__(logger, connection)
        self._aliases = aliases

    def _best(self, name: str) -> str:
        try:
            return super()._best(name)
        except LookupError:
            for alias, url in self._aliases.items():
                if name in (alias, identifier(alias)):
                    return url
            raise

    def _catalogue(self) -> dict:
        return {**self._aliases, **(super()._catalogue() or {})}


def namespace(settings: dict) -> tuple:
    """The console's globals, and the catalogue behind them."""
    from slapos.slap import _connection

    config = Config(settings)
    aliases = settings["aliases"]
    authority = False if not settings["verify"] else settings["master_ca_file"]

    def connect(timeout):
        connection = slapos.slap.slap()
        connection.initializeConnection(
            config.master_url, key_file=config.key_file, cert_file=config.cert_file,
            master_ca_file=authority, timeout=timeout, slapgrid_rest_uri=config.master_rest_url)
        return connection

    slap = connect(60)
    if authority is not None:
        # The tutorial's initializeConnection() names no authority.
        _connection.trusted[slap._connection_helper.slapgrid_uri] = authority
    catalogue = Catalogue(connect(PATIENCE), aliases)

    def request(software_release, partition_reference, *arguments, **named):
        """Ask for an instance: request(product.kvm, "my kvm").

        What is left out stays as it is. More in help(slap.registerOpenOrder().request).
        """
        return slap.registerOpenOrder().request(
            software_release, partition_reference, *arguments, **named)

    def supply(software_release, computer_guid=None, state="available"):
        """Have software installed on a node: supply(product.kvm, "COMP-1")."""
        return slap.registerSupply().supply(software_release, computer_guid, state)

    def remove(software_release, computer_guid=None):
        """Have software removed from a node: remove(product.kvm, "COMP-1")."""
        return slap.registerSupply().supply(software_release, computer_guid, "destroyed")

    def getInformation(partition_reference):
        """What the Master knows of an instance; it changes nothing: getInformation("my kvm")."""
        return slap.registerOpenOrder().getInformation(partition_reference)

    return {
        "slapos": slapos,
        "slap": slap,
        "product": Product(QuietLogger(), slap, aliases),
        "software_list": SoftwareList(catalogue),
        "config": config,
        "request": request,
        "supply": supply,
        "remove": remove,
        "getInformation": getInformation,
    }, catalogue
