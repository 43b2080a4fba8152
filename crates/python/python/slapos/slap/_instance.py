"""Instances: what a request returns, and what an instance does itself."""
from __future__ import annotations

import os
import time

from . import _native
from ._base import Connected, dictionary, log, url
from .exception import (
    ConnectionError,
    NotFoundError,
    RefusedError,
    ResourceNotReady,
    ServerError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger
    from typing import Callable

    from ._connection import Connection

DEFAULT_SOFTWARE_TYPE = "default"

#: Where a partition notes what it has asked for, so that its node knows what it no longer wants.
COMPUTER_PARTITION_REQUEST_LIST_TEMPLATE_FILENAME = ".slapos-request-transaction-%s"

#: Who is told why something is waited for, where a program does not say; the console's screen.
progress_shown: Callable[[str], object] | None = None

#: Between two questions to the Master while waiting, in seconds.
_POLL = 0.5
#: Seconds without a look, however long is waited.
_WAIT = 60.0


class SoftwareRelease(Connected):
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
            log(logger)


class SoftwareInstance(Connected):
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


def information(asker: Connected, partition_reference: str) -> SoftwareInstance:
    """What the Master knows about one of my instance trees; it changes nothing."""
    fields, parameters, connection = \
        asker._connection_helper.native.instance_tree(partition_reference)
    if list(parameters) == ["_"]:
        import json
        try:
            parameters["_"] = json.loads(parameters["_"])
        except ValueError:
            pass  # somebody's text, not JSON
    made = SoftwareInstance(**{"_" + name: value for name, value in fields.items()})
    made.__dict__.setdefault("_title", partition_reference)
    made._requested_state = fields.get("slap_state")
    made._software_release_url = fields.get("url_string")
    made._parameter_dict = parameters
    # As the Master writes it down; getConnectionParameterDict() is the same everywhere.
    made._connection_dict = fields.get("connection_parameter_list")
    made._published = connection
    return made


def requested(requester: Connected, order: dict, reply, again) -> ComputerPartition:
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


class ComputerPartition(Connected):
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
            words.append(self._address())
        return "<ComputerPartition %s>" % " ".join(word for word in words if word)

    def _address(self) -> str | None:
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
        return information(self, partition_reference)

    # Waiting

    def wait(self, timeout: float | None = 600, state: str | None = None,
             progress: Callable[[str], object] | None = None) -> ComputerPartition:
        """Wait until it is what was asked for, and return it with what it has published.

        That is: its node has reported the state; where the Master does not tell, something is
        published. It raises :class:`ResourceNotReady` with the reason after `timeout` seconds
        (None waits for ever). `progress` is called with each new reason.
        """
        progress = progress or progress_shown
        told = None
        again = self.__dict__.get("_again")
        if again is None:
            raise TypeError("only what request() has returned can be waited for")
        order = self._request_dict or {}
        title = order["partition_reference"]
        goal = state or order.get("state") or self.__dict__.get("_requested_state")
        deadline = time.monotonic() + (timeout or 0)
        changes = None
        while True:
            why = self._is_there(title) if goal == "destroyed" else self._waits_for(goal)
            if why is None:
                return self
            if progress and why != told:
                progress("%s: %s" % (title, why))
                told = why
            if timeout is not None and time.monotonic() >= deadline:
                raise ResourceNotReady("%s is not ready after %g s: %s" % (title, timeout, why))
            # Told before it looks again: what changes meanwhile is not missed.
            if changes is None:
                changes = self._connection_helper.native.changes(title, _POLL)
            left = _WAIT if timeout is None else max(0.0, deadline - time.monotonic())
            changes.wait(left)
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
            "software_release": url(software_release),
            "partition_reference": partition_reference,
            "state": state,
        }
        fields = {
            "software_release": software_release,
            "software_type": software_type or DEFAULT_SOFTWARE_TYPE,
            "partition_reference": partition_reference,
            "shared_xml": _native.dumps(shared),
            "partition_parameter_xml": _native.dumps(
                dictionary(partition_parameter_kw or {}, "partition_parameter_kw")),
            "filter_xml": _native.dumps(dictionary(filter_kw or {}, "filter_kw")),
            "state": _native.dumps(state),
        }
        self._remember(partition_reference)
        try:
            reply = _native.loads(self._say("requestComputerPartition", **fields))
        except ResourceNotReady as error:
            reply = str(error).partition(" - ")[2]
        return requested(self, order, reply, lambda: self.request(
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
            log(logger)

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
