"""Uses a SLAP library, the released one or ours, against a Master with accounts.

Somebody with a certificate asks, and a node with another one does its work. One JSON object per
step is printed, as by tests/interop/library.py.
"""
import json
import logging
import os
import re
import sys

import slapos.slap

try:
    from slapos.util import dumps
except ImportError:  # our library
    from slapos.slap._native import dumps

logging.disable(logging.CRITICAL)
MASTER = os.environ["MASTER_URL"]
# Upstream's believes anybody, and refuses to be told whom to believe.
TRUST = {"master_ca_file": os.environ["CA"]} if os.environ.get("CA") else {}
RELEASE = "http://example.org/app/1.0/software.cfg"


def connect(who):
    slap = slapos.slap.slap()
    slap.initializeConnection(
        MASTER, key_file=os.environ[who + "_KEY"], cert_file=os.environ[who + "_CERT"], **TRUST)
    return slap


def plain(value):
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (str, bytes, float)):
        text = value.decode() if isinstance(value, bytes) else str(value)
        text = text.replace(MASTER, "MASTER")
        text = re.sub(r"(?s)-----BEGIN.*", "PEM", text)
        text = re.sub(r"\w{3}, \d\d \w{3} \d{4} [\d:]+ \w+", "DATE", text)
        return re.sub(r"\b\d{9,}(\.\d+)?\b", "TIME", text)
    return type(value).__name__


def step(name, call):
    try:
        said = {"gives": plain(call())}
    except Exception as error:
        said = {"raises": type(error).__name__, "says": str(error)}
    print(json.dumps(dict(said, step=name), sort_keys=True))
    sys.stdout.flush()


person, machine = connect("PERSON"), connect("NODE")
NODE = "COMP-1"
order, supply = person.registerOpenOrder(), person.registerSupply()


def node(who=machine):
    return who.registerComputer(NODE)


def format_node():
    return node().updateConfiguration(dumps({
        "reference": NODE, "address": "127.0.0.1", "netmask": "255.255.255.255",
        "partition_list": [{
            "reference": "part%d" % number,
            "address_list": [{"addr": "127.0.0.1", "netmask": "255.255.255.255"}],
            "tap": {"name": "tap%d" % number},
        } for number in range(2)]}))


def told():
    return {part.getId(): [part.getState(), part.getInstanceParameterDict()]
            for part in node().getComputerPartitionList()
            if part._requested_state != "destroyed" or getattr(part, "_instance_guid", None)}


def request(title="mine", **more):
    return order.request(RELEASE, title, {"a": "b"}, state="started", **more)


step("product", lambda: person.getSoftwareReleaseListFromSoftwareProduct("app"))
step("product by release", lambda: person.getSoftwareReleaseListFromSoftwareProduct(
    software_release_url=RELEASE))
step("no product", lambda: person.getSoftwareReleaseListFromSoftwareProduct("nothing"))
step("no trees", lambda: sorted(person.getOpenOrderDict()))
step("nodes", lambda: {title: row._reference for title, row in person.getComputerDict().items()})
step("placeholder", lambda: type(request()).__name__)
step("placeholder: id", lambda: request().getId())
step("placeholder: state", lambda: request().getState())
step("placeholder: connection", lambda: request().getConnectionParameter("url"))
step("placeholder: guid", lambda: request().getInstanceGuid())
step("format by the person", lambda: person.registerComputer(NODE).reportUsage("<x/>"))
step("format", format_node)
step("supply somewhere", lambda: supply.supply(RELEASE, "COMP-999"))
step("supply", lambda: supply.supply(RELEASE, NODE))
step("wanted", lambda: [(r.getURI(), r.getState()) for r in node().getSoftwareReleaseList()])
step("building", lambda: node().getSoftwareReleaseList()[0].building())
step("available", lambda: node().getSoftwareReleaseList()[0].available())
step("placed", lambda: request().getId())
step("state", lambda: request().getState())
step("guid", lambda: request().getInstanceGuid())
step("parameters", lambda: sorted(request().getInstanceParameterDict()))
step("nothing published", lambda: request().getConnectionParameterDict())
step("told", lambda: sorted(told()))
step("told: parameters", lambda: {key: value for key, value in told()["part0"][1].items()
                                  if key in ("a", "instance_title", "root_instance_title")})
part = machine.registerComputerPartition(NODE, "part0")
step("type", lambda: part.getType())
step("release", lambda: part.getSoftwareRelease().getURI())
step("certificate", lambda: part.getCertificate())
step("publish", lambda: part.setConnectionDict({"url": "http://[::1]/", "password": "x"}))
step("published", lambda: request().getConnectionParameterDict())
step("started", lambda: part.started())
step("stopped", lambda: order.request(RELEASE, "mine", {"a": "b"}, state="stopped").getState())
step("told to stop", lambda: machine.registerComputerPartition(NODE, "part0").getState())
step("nowhere", lambda: request("elsewhere", filter_kw={"computer_guid": "COMP-999"}).getId())
step("trees", lambda: {title: row._software_release_url
                       for title, row in person.getOpenOrderDict().items()})
step("information", lambda: [getattr(order.getInformation("mine"), name) for name in (
    "_requested_state", "_software_release_url", "_parameter_dict", "_source_reference")])
step("information: connection", lambda: order.getInformation("mine")._connection_dict)
step("information of nothing", lambda: order.getInformation("nothing"))
step("information of the node", lambda: person.registerComputer(NODE).getInformation()._reference)
step("another's work", lambda: person.registerComputerPartition(NODE, "part0").started())
step("unknown partition", lambda: machine.registerComputerPartition(NODE, "part9").getState())
step("unknown node", lambda: person.registerComputer("COMP-999").getComputerPartitionList())
step("status", lambda: sorted(node().getStatus()))
step("rename", lambda: part.rename("yours"))
step("renamed", lambda: sorted(person.getOpenOrderDict()))
step("destroy", lambda: order.request(RELEASE, "yours", state="destroyed").getState())
step("destroyed", lambda: part.destroyed())
step("gone", lambda: sorted(person.getOpenOrderDict()))
step("token", lambda: len(person.registerToken().request()) > 10)
step("remove", lambda: supply.supply(RELEASE, NODE, "destroyed"))
step("to remove", lambda: [(r.getURI(), r.getState()) for r in node().getSoftwareReleaseList()])
