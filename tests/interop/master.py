"""A whole life with the released SLAP library against the full Master at $MASTER_URL, over TLS.

The person's certificate is where `slapos configure client` put it; the node's is asked for here.
Prints one JSON object per step: {"step": ..., "gives": ...} or {"step": ..., "raises": ...}.
"""
import json
import logging
import os

import slapos.slap
from slapos.util import dumps

MASTER = os.environ["MASTER_URL"]
HOME = os.path.join(os.environ["HOME"], ".slapos")
RELEASE = "http://example.org/software.cfg"
logging.disable(logging.CRITICAL)


def connection(name):
    slap = slapos.slap.slap()
    slap.initializeConnection(
        MASTER, os.path.join(HOME, name + ".key"), os.path.join(HOME, name + ".crt"))
    return slap


def step(name, call):
    try:
        print(json.dumps({"step": name, "gives": call()}, sort_keys=True, default=str))
    except Exception as error:
        print(json.dumps({"step": name, "raises": type(error).__name__}))


person = connection("client")
order = person.registerOpenOrder()
computer = order.requestComputer("one")
for name, pem in computer.generateCertificate().items():
    suffix = {"key": ".key", "certificate": ".crt"}[name]
    with open(os.path.join(HOME, "node" + suffix), "w") as file:
        file.write(pem)
node = connection("node")


def node_now():
    return node.registerComputer("COMP-1")


def partition(name="part0"):
    [found] = [p for p in node_now().getComputerPartitionList() if p.getId() == name]
    return found


def request(title, **keywords):
    found = order.request(RELEASE, title, **keywords)
    return found.getId(), found.getInstanceGuid(), found.getState()


def child(title, **keywords):
    found = partition().request(RELEASE, "default", title, **keywords)
    return found.getId(), found.getInstanceGuid()


node_now().updateConfiguration(dumps({
    "reference": "COMP-1",
    "address": "fd00::9",
    "netmask": "",
    "partition_list": [
        {
            "reference": "part%d" % index,
            "address_list": [{"addr": "fd00::%d" % index, "netmask": "ffff::"}],
            "tap": {"name": "tap%d" % index},
        }
        for index in range(2)
    ],
}))
step("nothing is supplied", lambda: request("tree"))
person.registerSupply().supply(RELEASE, "COMP-1")
[release] = node_now().getSoftwareReleaseList()
step("supplied", lambda: (release.getURI(), release.getState()))
release.building()
release.available()
step("placed", lambda: request("tree", partition_parameter_kw={"a": 1}))
step("parameters", lambda: {
    key: value for key, value in partition().getInstanceParameterDict().items()
    if key != "timestamp"})
step("the time stands still", lambda: (
    partition().getInstanceParameterDict()["timestamp"]
    == partition().getInstanceParameterDict()["timestamp"]))
step("type and release", lambda: (
    partition().getType(), partition().getSoftwareRelease().getURI()))
step("certificate", lambda: sorted(
    name for name, pem in partition().getCertificate().items() if "BEGIN" in pem))
step("a member of the tree", lambda: child("child"))
step("no partition is left", lambda: child("third"))
step("a shared instance", lambda: child("guest", shared=True, filter_kw={
    "instance_guid": partition().getInstanceGuid()}))
step("addresses of the tree", lambda: partition().getFullHostingIpAddressList())
step("publish", lambda: partition().setConnectionDict({"url": "http://[fd00::1]"}))
step("publish for the guest", lambda: partition().setConnectionDict(
    {"user": "u"}, slave_reference="SOFTINST-4"))
step("the guest as its host sees it", lambda: [
    {key: value for key, value in guest.items() if key != "timestamp"}
    for guest in partition().getInstanceParameterDict()["slave_instance_list"]])
step("published", lambda: order.request(
    RELEASE, "tree", partition_parameter_kw={"a": 1}).getConnectionParameterDict())
step("started", lambda: partition().started())
step("access status", lambda: partition().getAccessStatus())
step("error", lambda: partition().error("boo"))
step("error status", lambda: partition().getAccessStatus())
step("bang", lambda: partition().bang("help"))
step("related", lambda: partition().setComputerPartitionRelatedInstanceList(["child"]))
step("rename", lambda: partition("part1").rename("daughter"))
step("stopped", lambda: request("tree", state="stopped"))
step("destroyed", lambda: request("tree", state="destroyed"))
step("what the node sees", lambda: [
    (p.getId(), p.getState(), p._need_modification)
    for p in node_now().getComputerPartitionList()])
for each in node_now().getComputerPartitionList():
    each.destroyed()
step("nothing is left", lambda: [
    (p.getId(), p.getState(), p._need_modification)
    for p in node_now().getComputerPartitionList()])
step("a stranger's node", lambda: person.registerComputer("COMP-9").getComputerPartitionList())
step("revoked", lambda: computer.revokeCertificate())
step("and out", lambda: node_now().getComputerPartitionList())
