"""The classes of the SLAP library."""
from __future__ import annotations

import os
import time

from . import _native
from ._connection import Connection
from .exception import (
    ConnectionError,
    NotFoundError,
    RefusedError,
    ResourceNotReady,
    ServerError,
    SlapException,
)
from .hateoas import SlapHateoasNavigator, TempDocument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger
    from typing import Any, Callable, Iterator

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

DEFAULT_SOFTWARE_TYPE = "default"

#: Where a partition notes what it has asked for, so that its node knows what it no longer wants.
COMPUTER_PARTITION_REQUEST_LIST_TEMPLATE_FILENAME = ".slapos-request-transaction-%s"

#: Who is told why something is waited for, where a program does not say; the console's screen.
_progress: Callable[[str], object] | None = None

#: Between two questions to the Master while waiting, in seconds.
_POLL = 0.5


class _Connected:
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

    def _connect(self, other: _Connected) -> None:
        self._connection_helper = other._connection_helper
        self._hateoas_navigator = other._hateoas_navigator

    def _post(self, call: str, auth: tuple | None = None, **fields) -> bytes:
        return self._connection_helper.POST(call, data=fields, auth=auth)


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


def _url(value) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a software release is named by its URL, not by %r" % (value,))
    return value


def _dictionary(value, name: str) -> dict:
    if not isinstance(value, dict):
        raise ValueError("%s must be a dictionary, not %r" % (name, value))
    return value


class SoftwareRelease(_Connected):
    """A software release, as it is wanted on a node."""

    def __init__(self, software_release: str | None = None, computer_guid: str | None = None,
                 requested_state: str = "available", **kw):
        super().__init__(kw.get("connection_helper"), kw.get("hateoas_navigator"))
        self._software_instance_list: list = []
        self._software_release = software_release
        self._computer_guid = computer_guid

    def __getinitargs__(self):
        return (self._software_release, self._computer_guid)

    def __repr__(self) -> str:
        place = " on %s" % self._computer_guid if self._computer_guid else ""
        return "<SoftwareRelease %s %s%s>" % (self._software_release, self.getState(), place)

    def getURI(self) -> str:
        """The URL of the release."""
        if not self._software_release:
            raise NameError("this software release has no URL")
        return self._software_release

    def getComputerId(self) -> str:
        """The reference of the node."""
        if not self._computer_guid:
            raise NameError("this software release is on no node")
        return self._computer_guid

    def getState(self) -> str:
        """What is wanted: `available` or `destroyed`."""
        return self.__dict__.get("_requested_state", "available")

    def available(self) -> None:
        """A node says: it is installed."""
        self._post("availableSoftwareRelease", url=self.getURI(), computer_id=self.getComputerId())

    def building(self) -> None:
        """A node says: it is being built."""
        self._post("buildingSoftwareRelease", url=self.getURI(), computer_id=self.getComputerId())

    def destroyed(self) -> None:
        """A node says: it is removed."""
        self._post("destroyedSoftwareRelease", url=self.getURI(), computer_id=self.getComputerId())

    def error(self, error_log: str, logger: Logger | None = None) -> None:
        """A node says: it could not be built. A failure to say so is logged, never raised."""
        try:
            self._post("softwareReleaseError", url=self.getURI(),
                       computer_id=self.getComputerId(), error_log=error_log)
        except Exception:
            _log(logger)


def _log(logger: Logger | None) -> None:
    if logger is None:
        import logging
        logger = logging.getLogger(__name__)
    logger.exception("this error could not be reported to the Master")


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


class SoftwareInstance(_Connected):
    """What the Master says about an instance; its words are attributes with `_` before them."""

    _requested_state: str
    _software_release_url: str
    _parameter_dict: dict
    _connection_dict: object
    _published: dict

    def __init__(self, **kw):
        self.__dict__.update(kw)

    def getState(self) -> str:
        """The state that was asked for, in the Master's words."""
        return self._requested_state

    def getSoftwareRelease(self) -> str:
        """The URL of its software release."""
        return self._software_release_url

    def getInstanceParameterDict(self) -> dict:
        """Its parameters."""
        return dict(self._parameter_dict)

    def getConnectionParameterDict(self) -> dict:
        """What it has published."""
        return dict(self._published)

    def __repr__(self) -> str:
        get = self.__dict__.get
        words = [get("_title") and repr(get("_title")), get("_requested_state"),
                 get("_software_release_url")]
        return "<SoftwareInstance %s>" % " ".join(word for word in words if word)


class Supply(_Connected):
    """Software on nodes."""

    def supply(self, software_release: str, computer_guid: str | None = None,
               state: str = "available") -> None:
        """Have a release installed on a node, or removed from it (`state="destroyed"`)."""
        if state not in ("available", "destroyed"):
            raise ValueError("a release is `available` or `destroyed`, not %r" % (state,))
        _url(software_release)
        if not computer_guid:
            raise ValueError("name the node: supply(release, \"COMP-1\")")
        self._post("supplySupply", url=software_release, computer_id=computer_guid, state=state)


class Token(_Connected):
    """One-time tokens."""

    def request(self) -> str:
        """A token by which one compute node is enrolled."""
        return self._connection_helper.native.token()


class OpenOrder(_Connected):
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
        _url(software_release)
        if not isinstance(partition_reference, str):
            raise ValueError("the title of an instance is a text, not %r" % (partition_reference,))
        if partition_parameter_kw is not None:
            _dictionary(partition_parameter_kw, "partition_parameter_kw")
        if filter_kw is not None:
            _dictionary(filter_kw, "filter_kw")
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
        return _requested(self, order, reply, lambda: self.request(**order))

    def getInformation(self, partition_reference: str) -> SoftwareInstance:
        """What the Master knows about one of my instance trees; it changes nothing."""
        fields, parameters, connection = \
            self._connection_helper.native.instance_tree(partition_reference)
        if list(parameters) == ["_"]:
            import json
            try:
                parameters["_"] = json.loads(parameters["_"])
            except ValueError:
                pass  # somebody's text, not JSON
        information = SoftwareInstance(**{"_" + name: value for name, value in fields.items()})
        information.__dict__.setdefault("_title", partition_reference)
        information._requested_state = fields.get("slap_state")
        information._software_release_url = fields.get("url_string")
        information._parameter_dict = parameters
        # As the Master writes it down; getConnectionParameterDict() is the same everywhere.
        information._connection_dict = fields.get("connection_parameter_list")
        information._published = connection
        return information

    def requestComputer(self, computer_reference: str) -> Computer:
        """Ask for a compute node of this title."""
        computer = _native.loads(
            self._post("requestComputer", computer_title=computer_reference))
        computer._connect(self)
        return computer


def _requested(requester: _Connected, order: dict, reply, again) -> ComputerPartition:
    """What a request returns: the Master's answer, or a placeholder with the reason."""
    if isinstance(reply, str):
        partition = ComputerPartition(request_dict=order)
        partition._why = reply
    else:
        partition = ComputerPartition(reply.slap_computer_id, reply.slap_computer_partition_id)
        partition.__dict__.update(reply.__dict__)
        partition._request_dict = order
    partition._connect(requester)
    partition._again = again
    return partition


class Computer(_Connected):
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


class ComputerPartition(_Connected):
    """An instance, and the partition of a node it has."""

    _parameter_dict: dict | None
    _why: str
    _again: Callable[[], ComputerPartition]
    _software_release_document: SoftwareRelease | None

    def __init__(self, computer_id: str | None = None, partition_id: str | None = None,
                 request_dict: dict | None = None, connection_helper: Connection | None = None,
                 hateoas_navigator=None):
        super().__init__(connection_helper, hateoas_navigator)
        if request_dict is None:
            if computer_id is None or partition_id is None:
                raise TypeError("a partition needs computer_id and partition_id")
        elif computer_id is not None or partition_id is not None:
            raise TypeError("what was requested has no computer_id and partition_id yet")
        self._computer_id = computer_id
        self._partition_id = partition_id
        self._request_dict = request_dict
        self._remember(None)

    def __getinitargs__(self):
        return (self._computer_id, self._partition_id, self._request_dict)

    # What it is

    def __repr__(self) -> str:
        known = self.__dict__.get
        order = known("_request_dict") or {}
        title = (order.get("partition_reference")
                 or (known("_parameter_dict") or {}).get("instance_title"))
        words: list = [repr(title)] if title else []
        if not self._partition_id:
            why = known("_why")
            words.append("not ready yet" + (": " + why if why else ""))
        else:
            words += [known("_requested_state"), "on %s of %s" % (self._partition_id,
                                                                  self._computer_id)]
            words.append(self._url())
        return "<ComputerPartition %s>" % " ".join(word for word in words if word)

    def _url(self) -> str | None:
        """The address a person would open, if one is published."""
        connection = dict(self.__dict__.get("_connection_dict") or {})
        if list(connection) == ["_"]:
            import json
            try:
                connection = json.loads(connection["_"])
            except ValueError:
                return None
            if not isinstance(connection, dict):
                return None
        urls = [(name != "url", "url" not in name, name, value)
                for name, value in connection.items()
                if isinstance(value, str) and value.startswith(("http://", "https://"))]
        return min(urls)[3] if urls else None

    def _not_ready(self) -> ResourceNotReady:
        why = self.__dict__.get("_why")
        return ResourceNotReady("/requestComputerPartition" + (" - " + why if why else ""))

    def _fetchComputerPartitionInformation(self) -> None:
        found = self._connection_helper.value("registerComputerPartition", {
            "computer_reference": self._computer_id,
            "computer_partition_reference": self.getId(),
        })
        for name in ("_instance_guid", "_requested_state", "_software_release_document",
                     "_parameter_dict", "_connection_dict"):
            self.__dict__[name] = found.__dict__.get(name)
        release = self._software_release_document
        if isinstance(release, SoftwareRelease):
            release._connect(self)

    def _known(self, name: str):
        """An attribute, asking the Master for it once."""
        if name not in self.__dict__:
            self._fetchComputerPartitionInformation()
        return self.__dict__[name]

    def getId(self) -> str:
        """The name of the partition, such as `slappart0`."""
        if not self._partition_id:
            raise self._not_ready()
        return self._partition_id

    def getInstanceGuid(self) -> str:
        """The reference of the instance, unique at its Master."""
        guid = self._known("_instance_guid")
        if guid is None:
            raise self._not_ready()
        return guid

    def getState(self) -> str:
        """The state that was asked for: `started`, `stopped` or `destroyed`.

        What the instance really is tells :meth:`getActualState`.
        """
        state = self._known("_requested_state")
        if state is None:
            raise self._not_ready()
        return state

    def getActualState(self) -> str | None:
        """The state its node has reported, or None where none has been reported yet.

        Upstream's proxy never tells.
        """
        return self._status()[0]

    def _status(self) -> tuple:
        """The state its node has reported, and its words."""
        partition_id = self.getId()
        try:
            record = self._connection_helper.value("getComputerPartitionStatus", {
                "computer_id": self._computer_id,
                "computer_partition_id": partition_id,
            })
        except (NotFoundError, RefusedError, ValueError):
            return None, ""
        if not isinstance(record, dict) or "no_data" in record or record.get("current") == 0:
            return None, ""
        return record.get("state") or None, record.get("text") or ""

    def getAccessStatus(self) -> str | None:
        """The message of its node that came with the partition's description, if one did."""
        return self.__dict__.get("_access_status")

    getStatus = getAccessStatus

    def getType(self) -> str:
        """The software type."""
        known = self.__dict__.get("slap_software_type")
        if not known:
            known = self.getInstanceParameterDict().get("slap_software_type")
        if not known:
            self._fetchComputerPartitionInformation()
            known = (self._parameter_dict or {}).get("slap_software_type")
        if not known:
            raise self._not_ready()
        return known

    def getSoftwareRelease(self) -> SoftwareRelease:
        """The software release."""
        release = self._known("_software_release_document")
        if release is None:
            raise NotFoundError("no software release is known for %s" % self.getId())
        return release

    def getInstanceParameterDict(self) -> dict:
        """Its parameters, and what else the Master tells an instance."""
        return self._known("_parameter_dict") or {}

    def getInstanceParameter(self, key: str):
        """One of its parameters."""
        parameters = self.__dict__.get("_parameter_dict") or {}
        if key not in parameters:
            raise NotFoundError("%s not found" % key)
        return parameters[key]

    def getConnectionParameterDict(self) -> dict:
        """What it has published."""
        return self._known("_connection_dict") or {}

    def getConnectionParameter(self, key: str) -> str:
        """One thing it has published, such as `url`."""
        connection = self.getConnectionParameterDict()
        if key in connection:
            return connection[key]
        if not connection:
            raise NotFoundError("%s not found: nothing is published yet" % key)
        raise NotFoundError("%s not found; there is %s" % (key, ", ".join(sorted(connection))))

    def getInformation(self, partition_reference: str) -> SoftwareInstance:
        """What the Master knows about one of my instance trees."""
        order = OpenOrder()
        order._connect(self)
        return order.getInformation(partition_reference)

    # Waiting

    def wait(self, timeout: float | None = 600, state: str | None = None,
             progress: Callable[[str], object] | None = None) -> ComputerPartition:
        """Wait until it is what was asked for, and return it with what it has published.

        That is: its node has reported the state; where the Master does not tell, something is
        published. It raises :class:`ResourceNotReady` with the reason after `timeout` seconds
        (None waits for ever). `progress` is called with each new reason.
        """
        progress = progress or _progress
        told = None
        again = self.__dict__.get("_again")
        if again is None:
            raise TypeError("only what request() has returned can be waited for")
        order = self._request_dict or {}
        title = order["partition_reference"]
        goal = state or order.get("state") or self.__dict__.get("_requested_state")
        deadline = time.monotonic() + (timeout or 0)
        while True:
            why = self._is_there(title) if goal == "destroyed" else self._waits_for(goal)
            if why is None:
                return self
            if progress and why != told:
                progress("%s: %s" % (title, why))
                told = why
            if timeout is not None and time.monotonic() >= deadline:
                raise ResourceNotReady("%s is not ready after %g s: %s" % (title, timeout, why))
            time.sleep(_POLL)
            if goal == "destroyed":
                continue  # to ask again for what is gone would make a new one
            try:
                self.__dict__.update(again().__dict__)
            except (ConnectionError, ServerError) as error:
                # A Master that is restarted meanwhile is no reason to give up.
                self._why = str(error)

    def _is_there(self, title: str) -> str | None:
        """Why it is not gone, or None when it is."""
        try:
            self._connection_helper.native.instance_tree(title)
        except NotFoundError:
            return None
        except (ConnectionError, ServerError) as error:
            return str(error)
        return "being destroyed"

    def _waits_for(self, goal: str | None) -> str | None:
        """Why it is not ready, or None when it is."""
        if not self._partition_id:
            return self.__dict__.get("_why") or "the Master has no place for it yet"
        goal = goal or self.getState()
        state, said = self._status()
        published = goal == "stopped" or bool(self.__dict__.get("_connection_dict"))
        if state == goal and not said.startswith("#error"):
            return None
        if said.startswith("#error"):
            return said[len("#error"):].strip()
        if state is None and published and not self._tells_status():
            return None
        return "on %s of %s, not yet %s" % (self._partition_id, self._computer_id, goal)

    def _tells_status(self) -> bool:
        """Whether the Master tells what nodes report."""
        try:
            self._connection_helper.GET("getComputerPartitionStatus", {
                "computer_id": self._computer_id,
                "computer_partition_id": self._partition_id,
            })
        except (NotFoundError, RefusedError):
            return False
        return True

    # What an instance does itself: it asks for others, and says how it is

    @property
    def _me(self) -> tuple:
        return (self._computer_id, self.getId())

    def _say(self, call: str, **fields) -> bytes:
        me = self._me
        return self._post(call, auth=me, computer_id=me[0], computer_partition_id=me[1], **fields)

    def request(self, software_release: str, software_type: str | None, partition_reference: str,
                shared: bool = False, partition_parameter_kw: dict | None = None,
                filter_kw: dict | None = None, state: str | None = None) -> ComputerPartition:
        """Ask for another instance of the same tree.

        The order of the arguments differs from :meth:`OpenOrder.request`, and what is left out is
        empty: an instance says all it wants every time it is processed.
        """
        order = {
            "software_release": _url(software_release),
            "partition_reference": partition_reference,
            "state": state,
        }
        fields = {
            "software_release": software_release,
            "software_type": software_type or DEFAULT_SOFTWARE_TYPE,
            "partition_reference": partition_reference,
            "shared_xml": _native.dumps(shared),
            "partition_parameter_xml": _native.dumps(
                _dictionary(partition_parameter_kw or {}, "partition_parameter_kw")),
            "filter_xml": _native.dumps(_dictionary(filter_kw or {}, "filter_kw")),
            "state": _native.dumps(state),
        }
        self._remember(partition_reference)
        try:
            reply = _native.loads(self._say("requestComputerPartition", **fields))
        except ResourceNotReady as error:
            reply = str(error).partition(" - ")[2]
        return _requested(self, order, reply, lambda: self.request(
            software_release, software_type, partition_reference, shared,
            partition_parameter_kw, filter_kw, state))

    def _remember(self, title: str | None) -> None:
        """Note what the instance has asked for, where its node looks for it."""
        root = os.environ.get("SLAPGRID_INSTANCE_ROOT")
        if not root or not self._partition_id:
            return
        directory = os.path.join(root, self._partition_id)
        file = os.path.join(
            directory, COMPUTER_PARTITION_REQUEST_LIST_TEMPLATE_FILENAME % self._partition_id)
        try:
            if title is not None or (os.access(directory, os.W_OK) and not os.path.exists(file)):
                with open(file, "a") as f:
                    if title is not None:
                        f.write(title + "\n")
        except OSError:
            pass  # not an instance's own process

    def started(self) -> None:
        """Its node says: it is started."""
        self._say("startedComputerPartition")

    def stopped(self) -> None:
        """Its node says: it is stopped."""
        self._say("stoppedComputerPartition")

    def destroyed(self) -> None:
        """Its node says: it is removed."""
        self._say("destroyedComputerPartition")

    def error(self, error_log: str, logger: Logger | None = None,
              slave_reference: str | None = None) -> None:
        """Its node says what is wrong. A failure to say so is logged, never raised."""
        self.getId()
        try:
            self._say("softwareInstanceError", error_log=error_log, **_slave(slave_reference))
        except Exception:
            _log(logger)

    def bang(self, message: str) -> None:
        """Have the whole tree processed again."""
        self._say("softwareInstanceBang", message=message)

    def rename(self, new_name: str, slave_reference: str | None = None) -> None:
        """Give it, or a shared instance in it, another title."""
        self._say("softwareInstanceRename", new_name=new_name, **_slave(slave_reference))

    def setConnectionDict(self, connection_dict: dict, slave_reference: str | None = None) -> None:
        """Publish, for itself or for a shared instance in it."""
        self._say("setComputerPartitionConnectionXml",
                  connection_xml=_native.dumps(connection_dict), slave_reference=slave_reference)

    def setUsage(self, usage_log) -> None:
        """Keep what was used, for the node's report."""
        self.usage = usage_log

    def getCertificate(self) -> dict:
        """Its own certificate: `certificate` and `key`."""
        return self._ask("getComputerPartitionCertificate")

    def getFullHostingIpAddressList(self) -> list:
        """The addresses of the whole tree: (interface, address)."""
        return self._ask("getHostingSubscriptionIpList")

    def _ask(self, call: str):
        return self._connection_helper.value(call, {
            "computer_id": self._computer_id,
            "computer_partition_id": self._partition_id,
        })

    def setComputerPartitionRelatedInstanceList(self, instance_reference_list: list) -> None:
        """Say which instances this one still wants; the others of its tree may go."""
        self._say("updateComputerPartitionRelatedInstanceList",
                  instance_reference_xml=_native.dumps(instance_reference_list))


def _slave(reference: str | None) -> dict:
    return {"slave_reference": reference} if reference else {}


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
