"""Uses a SLAP library, the released one or ours, against the Master at $MASTER_URL, and prints what it saw.

One JSON object per step: {"step": ..., "gives": ...} or {"step": ..., "raises": ..., "says": ...}.
Times and the Master's address are replaced by words, so that what is printed depends only on how
the Master answers.

The Master is expected to be empty; releases need not exist.
"""
import json
import logging
import os
import re
import sys

import slapos.slap
from slapos.slap.exception import NotFoundError, ResourceNotReady, ServerError

try:
    from slapos.util import dumps
except ImportError:  # our library
    from slapos.slap._native import dumps

MASTER = os.environ["MASTER_URL"]
logging.disable(logging.CRITICAL)


def plain(value):
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (str, bytes, float)):
        text = value.decode() if isinstance(value, bytes) else str(value)
        text = text.replace(MASTER, "MASTER/")
        return re.sub(r"\b\d{9,}(\.\d+)?\b", "TIME", text)
    return type(value).__name__


def step(name, call):
    try:
        print(json.dumps({"step": name, "gives": plain(call())}, sort_keys=True))
    except Exception as error:
        print(json.dumps({
            "step": name, "raises": type(error).__name__, "says": plain(str(error))},
            sort_keys=True))
    sys.stdout.flush()


RELEASE = "/releases/one/software.cfg"
OTHER = "/releases/other/software.cfg"
NODE = "local_computer"

slap = slapos.slap.slap()
slap.initializeConnection(MASTER, slapgrid_rest_uri=MASTER + "hateoas")
order = slap.registerOpenOrder()
supply = slap.registerSupply()
node = slap.registerComputer(NODE)


def computer(guid=NODE):
    return slap.registerComputer(guid)


def partition(reference):
    return slap.registerComputerPartition(NODE, reference)


def partitions():
    """Everything the node is told, partition by partition."""
    told = {}
    for item in computer().getComputerPartitionList():
        parameters = dict(getattr(item, "_parameter_dict", {}))
        release = getattr(item, "_software_release_document", None)
        told[item.getId()] = {
            "state": item.getState(),
            "release": release and release.getURI(),
            "parameters": parameters,
            "connection": getattr(item, "_connection_dict", None),
            "guid": getattr(item, "_instance_guid", None),
        }
    return told


def format_node():
    def partition(number):
        return {
            "reference": "part%d" % number,
            "address_list": [
                {"addr": "127.0.0.1", "netmask": "255.255.255.255"},
                {"addr": "::1", "netmask": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}],
            "tap": {"name": "tap%d" % number},
        }
    return computer().updateConfiguration(dumps({
        "reference": NODE, "address": "127.0.0.1", "netmask": "255.255.255.255",
        "partition_list": [partition(number) for number in range(3)]}))


# A node that was never heard of.
step("unknown node: getState of a partition", lambda: slap.registerComputerPartition("COMP-9", "part0").getState())
step("request before there is a node", lambda: order.request(RELEASE, "early").getState())

# The node.
step("format", format_node)
step("format again", format_node)
step("a formatted node", partitions)
step("no release yet", lambda: [r.getURI() for r in computer().getSoftwareReleaseList()])

# Supply.
step("supply", lambda: supply.supply(RELEASE, NODE))
step("supply again", lambda: supply.supply(RELEASE, NODE))
step("supply another", lambda: supply.supply(OTHER, NODE, "available"))
step("supply destroyed", lambda: supply.supply(OTHER, NODE, "destroyed"))
step("releases", lambda: sorted((r.getURI(), r.getState(), r.getComputerId()) for r in computer().getSoftwareReleaseList()))
release = [r for r in computer().getSoftwareReleaseList() if r.getURI() == RELEASE][0]
step("building", release.building)
step("error", lambda: release.error("it \u00e9xploded\nbadly"))
step("available", release.available)
step("destroyed", [r for r in computer().getSoftwareReleaseList() if r.getURI() == OTHER][0].destroyed)
step("releases, one gone", lambda: sorted((r.getURI(), r.getState()) for r in computer().getSoftwareReleaseList()))

# Request.
PARAMETERS = {"name": "w\u00f6rld & <co>", "number": "1", "empty": "", "lines": "a\nb"}


def request(**more):
    arguments = dict(software_release=RELEASE, partition_reference="first",
                     partition_parameter_kw=PARAMETERS)
    arguments.update(more)
    return order.request(**arguments)


step("request", lambda: request().getId())
step("request: state", lambda: request().getState())
step("request: guid", lambda: request().getInstanceGuid())
step("request: parameters", lambda: request().getInstanceParameterDict())
step("request: connection", lambda: request().getConnectionParameterDict())
step("request: connection parameter", lambda: request().getConnectionParameter("url"))
step("request: release", lambda: request().getSoftwareRelease().getURI())
step("request: status", lambda: request().getStatus())
step("request: type before a fetch", lambda: request().getType())
step("told to the node", partitions)
step("request by keyword parameters of other kinds", lambda: order.request(
    RELEASE, "kinds", {"a": 1, "b": True, "c": None, "d": [1]}).getInstanceParameterDict())
step("request with a type", lambda: order.request(
    RELEASE, "kinds", {"a": 1}, software_type="other").getId())
step("type of a partition", lambda: partition("part1").getType())
step("request: not a dict", lambda: order.request(RELEASE, "bad", "notadict"))
step("request: stopped", lambda: request(state="stopped").getState())
step("request without state keeps it", lambda: partition("part0").getState())
step("request: started", lambda: request(state="started").getState())
step("request on an unknown node", lambda: order.request(
    RELEASE, "nowhere", filter_kw={"computer_guid": "COMP-9"}).getState())
step("request on this node", lambda: order.request(
    RELEASE, "here", filter_kw={"computer_guid": NODE}).getId())
step("request when it is full", lambda: order.request(RELEASE, "too many").getState())

# What a node tells.
step("publish", lambda: partition("part0").setConnectionDict({"url": "http://[::1]:80/?a=b&c", "p": "\u00e9"}))
step("published", lambda: request().getConnectionParameterDict())
step("published, one", lambda: request().getConnectionParameter("url"))
step("publish less", lambda: partition("part0").setConnectionDict({"url": "x"}))
step("published less", lambda: request().getConnectionParameterDict())
step("started", lambda: partition("part0").started())
step("stopped", lambda: partition("part0").stopped())
step("error is swallowed", lambda: partition("part0").error("bad\x01 news"))
step("usage", lambda: computer().reportUsage(""))
step("certificate", lambda: partition("part0").getCertificate())
step("hosting addresses", lambda: partition("part0").getFullHostingIpAddressList())
step("related instances", lambda: partition("part0").setComputerPartitionRelatedInstanceList([]))
step("bang by a partition", lambda: partition("part0").bang("look"))
step("bang by the node", lambda: computer().bang("look"))
step("status of a partition", lambda: partition("part0").getStatus())

# Trees and shared instances.
parent = partition("part0")
step("free one", lambda: order.request(RELEASE, "here", state="destroyed").getState())
step("destroyed", lambda: partition("part2").destroyed())
step("sub-request", lambda: parent.request(RELEASE, "default", "child", partition_parameter_kw={"x": "y"}).getId())
step("sub-request again", lambda: parent.request(RELEASE, "default", "child", partition_parameter_kw={"x": "y"}).getInstanceGuid())
step("a child's titles", lambda: {key: value for key, value in partition("part2").getInstanceParameterDict().items() if "title" in key})
step("shared: nobody serves it", lambda: order.request(OTHER, "guest", shared=True).getState())
step("shared", lambda: order.request(RELEASE, "guest", {"who": "me"}, shared=True, filter_kw={"instance_guid": NODE + "-part0"}).getId())
step("shared: what its host is told", lambda: [
    {key: slave[key] for key in sorted(slave)} for slave in partition("part0").getInstanceParameterDict()["slave_instance_list"]])
step("shared: publish", lambda: partition("part0").setConnectionDict(
    {"site": "http://guest/"}, slave_reference=partition("part0").getInstanceParameterDict()["slave_instance_list"][0]["slave_reference"]))
step("shared: published", lambda: order.request(
    RELEASE, "guest", {"who": "me"}, shared=True, filter_kw={"instance_guid": NODE + "-part0"}).getConnectionParameterDict())
step("shared: publish for nobody", lambda: partition("part0").setConnectionDict({"a": "b"}, slave_reference="nobody"))
step("rename", lambda: partition("part2").rename("baby"))
step("renamed", lambda: partition("part2").getInstanceParameterDict()["instance_title"])
step("a tree", partitions)

# The documents behind `service` and `computer`.
step("instance trees", lambda: {title: {
    "release": tree._software_release_url, "title": tree._title}
    for title, tree in slap.getOpenOrderDict().items()})
step("nodes", lambda: {title: item._reference for title, item in slap.getComputerDict().items()})
step("information", lambda: {key: getattr(order.getInformation("first"), key) for key in (
    "_title", "_requested_state", "_slap_state", "_software_release_url", "_source_reference",
    "_parameter_dict", "_root_slave", "_portal_type") if hasattr(order.getInformation("first"), key)})
step("information: connection", lambda: order.getInformation("first")._connection_dict)
step("information of nothing", lambda: order.getInformation("nothing"))
step("information of a node", lambda: {key: getattr(computer().getInformation(), key)
    for key in ("_reference", "_title", "_portal_type")})

# Destruction.
step("destroy", lambda: request(state="destroyed").getState())
step("destroy: told", lambda: {key: value["state"] for key, value in partitions().items()})
step("destroy: a parent is kept while it has children", lambda: partition("part0").destroyed())
step("destroy: the children go first", lambda: {key: value["state"] for key, value in partitions().items()})
step("destroy: child", lambda: partition("part2").destroyed())
step("destroy: parent", lambda: partition("part0").destroyed())
step("destroy: again", lambda: partition("part0").destroyed())
step("the end", partitions)
step("release of a product nobody knows", lambda: slap.getSoftwareReleaseListFromSoftwareProduct("nothing"))
step("release of a product", lambda: slap.getSoftwareReleaseListFromSoftwareProduct("hello"))
