"""The classes of the SLAP library."""
from __future__ import annotations

from . import _native
from ._base import Connected, dictionary, url
from ._connection import Connection
from ._instance import (
    COMPUTER_PARTITION_REQUEST_LIST_TEMPLATE_FILENAME,
    DEFAULT_SOFTWARE_TYPE,
    ComputerPartition,
    SoftwareInstance,
    SoftwareRelease,
    information,
    requested,
)
from ._products import SoftwareProductCollection
from .exception import (
    ConnectionError,
    NotFoundError,
    ResourceNotReady,
    ServerError,
    SlapException,
)
from .hateoas import SlapHateoasNavigator, TempDocument

TYPE_CHECKING = False

__all__ = [
    "slap",
    "Computer",
    "ComputerPartition",
    "ConnectionError",
    "NotFoundError",
    "OpenOrder",
    "ResourceNotReady",
    "ServerError",
    "SoftwareInstance",
    "SoftwareProductCollection",
    "SoftwareRelease",
    "Supply",
    "Token",
]

# Where programs, documents of Masters and tracebacks look for them.
for _class in (ComputerPartition, SoftwareInstance, SoftwareProductCollection, SoftwareRelease):
    _class.__module__ = __name__
del _class


def _from_wire(class_name: str, arguments: tuple, attributes: dict):
    """Make the object a document of the Master describes."""
    made = {
        "Computer": Computer,
        "ComputerPartition": ComputerPartition,
        "SoftwareInstance": SoftwareInstance,
        "SoftwareRelease": SoftwareRelease,
    }[class_name](*arguments)
    made.__dict__.update(attributes)
    return made


class Supply(Connected):
    """Software on nodes."""

    def supply(self, software_release: str, computer_guid: str | None = None,
               state: str = "available") -> None:
        """Have a release installed on a node, or removed from it (`state="destroyed"`)."""
        if state not in ("available", "destroyed"):
            raise ValueError("a release is `available` or `destroyed`, not %r" % (state,))
        url(software_release)
        if not computer_guid:
            raise ValueError("name the node: supply(release, \"COMP-1\")")
        self._post("supplySupply", url=software_release, computer_id=computer_guid, state=state)


class Token(Connected):
    """One-time tokens."""

    def request(self) -> str:
        """A token by which one compute node is enrolled."""
        return self._connection_helper.native.token()


class OpenOrder(Connected):
    """What one asks a Master for."""

    def request(self, software_release: str, partition_reference: str,
                partition_parameter_kw: dict | None = None, software_type: str | None = None,
                filter_kw: dict | None = None, state: str | None = None,
                shared: bool | None = None) -> ComputerPartition:
        """Ask for an instance, or for a change of one.

        `software_release`
            the URL of the software release.
        `partition_reference`
            the instance's title: the same title is the same instance.
        `partition_parameter_kw`
            its parameters; `{}` empties them.
        `software_type`
            which of the release's kinds it is.
        `filter_kw`
            where it may be, such as `{"computer_guid": "COMP-1"}`.
        `state`
            `started`, `stopped` or `destroyed`.
        `shared`
            whether it is a shared instance, inside somebody else's.

        What is left out stays as it is; a new instance is started, of the default type and
        without parameters. So it does no harm to ask again to see what became of it. While the
        Master has no place for the instance, what is returned raises :class:`ResourceNotReady`
        when it is asked about anything.
        """
        url(software_release)
        if not isinstance(partition_reference, str):
            raise ValueError("the title of an instance is a text, not %r" % (partition_reference,))
        if partition_parameter_kw is not None:
            dictionary(partition_parameter_kw, "partition_parameter_kw")
        if filter_kw is not None:
            dictionary(filter_kw, "filter_kw")
        order: dict = {
            "software_release": software_release,
            "partition_reference": partition_reference,
            "partition_parameter_kw": partition_parameter_kw,
            "software_type": software_type,
            "filter_kw": filter_kw,
            "state": state,
            "shared": shared,
        }
        reply = self._connection_helper.native.request(
            software_release, partition_reference, parameters=partition_parameter_kw,
            software_type=software_type, sla=filter_kw, state=state, shared=shared)
        return requested(self, order, reply, lambda: self.request(**order))

    def getInformation(self, partition_reference: str) -> SoftwareInstance:
        """What the Master knows about one of my instance trees; it changes nothing."""
        return information(self, partition_reference)

    def requestComputer(self, computer_reference: str) -> Computer:
        """Ask for a compute node of this title."""
        computer = _native.loads(
            self._post("requestComputer", computer_title=computer_reference))
        computer._connect(self)
        return computer


class Computer(Connected):
    """A compute node."""

    _reference: str
    _title: str
    _portal_type: str
    _computer_partition_list: list[ComputerPartition]
    _software_release_list: list[SoftwareRelease]

    def __init__(self, computer_id: str, connection_helper: Connection | None = None,
                 hateoas_navigator=None):
        super().__init__(connection_helper, hateoas_navigator)
        self._computer_id = computer_id

    def __getinitargs__(self):
        return (self._computer_id,)

    def __repr__(self) -> str:
        title = self.__dict__.get("_title")
        title = " %r" % title if title and title != self._computer_id else ""
        if not self.__dict__.get("_synced"):
            return "<Computer %s%s>" % (self._computer_id, title)
        partitions = self.__dict__.get("_computer_partition_list", [])
        return "<Computer %s%s: %d partitions, %d software releases>" % (
            self._computer_id, title, len(partitions),
            len(self.__dict__.get("_software_release_list", [])))

    def _sync(self) -> None:
        if self.__dict__.get("_synced"):
            return
        known = self._connection_helper.getFullComputerInformation(self._computer_id)
        self.__dict__.update(known.__dict__)
        for part in self.__dict__.get("_computer_partition_list", []):
            part._synced = True
            part._connect(self)
        for release in self.__dict__.get("_software_release_list", []):
            release._connect(self)
        self._synced = True

    def getSoftwareReleaseList(self) -> list[SoftwareRelease]:
        """The software releases wanted on the node."""
        self._sync()
        return list(self._software_release_list)

    def getComputerPartitionList(self) -> list[ComputerPartition]:
        """The partitions of the node."""
        self._sync()
        return list(self._computer_partition_list)

    def getInformation(self) -> Computer:
        """What the Master's list says about the node: `_reference`, `_title`."""
        reference, title = self._connection_helper.native.node(self._computer_id)
        computer = Computer(self._computer_id)
        computer._connect(self)
        computer._reference = reference
        computer._title = title
        computer._portal_type = "Compute Node"
        return computer

    def getStatus(self) -> dict:
        """What the node last reported."""
        return self._connection_helper.value(
            "getComputerStatus", {"computer_id": self._computer_id})

    def bang(self, message: str) -> None:
        """Have everything on the node processed again."""
        self._post("computerBang", computer_id=self._computer_id, message=message)

    def reportUsage(self, computer_usage: str) -> None:
        """A node says what was used on it."""
        if computer_usage:
            self._post("useComputer", computer_id=self._computer_id, use_string=computer_usage)

    def updateConfiguration(self, xml: str) -> bytes:
        """A node says what it is made of."""
        return self._post("loadComputerConfigurationFromXML", xml=xml)

    def generateCertificate(self) -> dict:
        """Issue the node's certificate: `certificate` and `key`."""
        return _native.loads(
            self._post("generateComputerCertificate", computer_id=self._computer_id))

    def revokeCertificate(self) -> None:
        """Revoke the node's certificate."""
        self._post("revokeComputerCertificate", computer_id=self._computer_id)


class slap:
    """A connection to a Master, and what can be had through it."""

    def initializeConnection(self, slapgrid_uri: str, key_file: str | None = None,
                             cert_file: str | None = None,
                             master_ca_file: str | bool | None = None,
                             timeout: float | None = 60,
                             slapgrid_rest_uri: str | None = None) -> None:
        """Say which Master it is; nothing is sent yet.

        `master_ca_file`
            the authority that vouches for the Master's certificate. Without it the public
            authorities do; `False` believes anybody, which is dangerous.
        `timeout`
            how long an answer may take, in seconds.
        `slapgrid_rest_uri`
            where the Master's documents start; it is asked for it when it is needed.
        """
        self._connection_helper = Connection(
            slapgrid_uri, key_file, cert_file, master_ca_file, timeout, slapgrid_rest_uri)
        self._hateoas_navigator = SlapHateoasNavigator(
            self._connection_helper, slapgrid_rest_uri)

    if not TYPE_CHECKING:
        def __getattr__(self, name: str):
            if name == "_connection_helper":
                raise SlapException("call initializeConnection() first")
            raise AttributeError("%r object has no attribute %r" % (type(self).__name__, name))

    def __repr__(self) -> str:
        connection = self.__dict__.get("_connection_helper")
        return "<slap %s>" % (connection.slapgrid_uri if connection else "not connected")

    def _made(self, made):
        made._connection_helper = self._connection_helper
        made._hateoas_navigator = self._hateoas_navigator
        return made

    def registerOpenOrder(self) -> OpenOrder:
        """Through which instances are requested."""
        return self._made(OpenOrder())

    def registerSupply(self) -> Supply:
        """Through which software is installed on nodes."""
        return self._made(Supply())

    def registerToken(self) -> Token:
        """Through which tokens are had."""
        return self._made(Token())

    def registerSoftwareRelease(self, software_release: str) -> SoftwareRelease:
        """A software release by its URL; the Master is not asked."""
        return self._made(SoftwareRelease(software_release))

    def registerComputer(self, computer_guid: str) -> Computer:
        """A compute node by its reference; the Master is not asked."""
        return self._made(Computer(computer_guid))

    def registerComputerPartition(self, computer_guid: str, partition_id: str
                                  ) -> ComputerPartition:
        """A partition of a node; the Master is not asked."""
        if not computer_guid or not partition_id:
            raise NotFoundError("a partition is named by its node and its own name, "
                                "such as (\"COMP-1\", \"slappart0\")")
        return self._made(ComputerPartition(computer_guid, partition_id))

    def getSoftwareReleaseListFromSoftwareProduct(
            self, software_product_reference: str | None = None,
            software_release_url: str | None = None) -> list[str]:
        """The releases of a product, best first; the product is named, or one of its releases."""
        if software_product_reference:
            if software_release_url is not None:
                raise AttributeError("name a software product or one of its releases, not both")
            params = {"software_product_reference": software_product_reference}
        elif software_release_url is not None:
            params = {"software_release_url": software_release_url}
        else:
            raise AttributeError("name a software product, or one of its releases")
        return self._connection_helper.value(
            "getSoftwareReleaseListFromSoftwareProduct", params)

    def getOpenOrderDict(self) -> dict[str, TempDocument]:
        """My instance trees by title."""
        return {
            title: TempDocument(_title=title, _software_release_url=release)
            for title, release in self._connection_helper.native.instance_trees()
        }

    def getComputerDict(self) -> dict[str, TempDocument]:
        """The compute nodes I may see, by title."""
        return {
            title: TempDocument(_title=title, _reference=reference)
            for reference, title in self._connection_helper.native.nodes()
        }

    def _catalogue(self) -> dict[str, str] | None:
        """The products of the Master and the best release of each; None where it lists none."""
        return self._connection_helper.native.catalogue()
