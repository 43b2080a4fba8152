//! Our library for Python beside the released one: the same programs, with upstream's Master and
//! with both of ours, see the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value as Json, json};
use testkit::{Invocation, Peer, Rig, Run};

/// Everything a client and a node call, as JSON for each step.
const LIBRARY: &str = include_str!("interop/library.py");
/// What a person's program calls of a Master with accounts.
const PERSON: &str = include_str!("sdk/person.py");

type Steps = Vec<(String, Json)>;

fn builder() -> Rig {
    Rig::builder(env!("CARGO_BIN_EXE_slapos"))
        .proxy_option("software_product_list =\n  hello http://example.org/hello/software.cfg")
        .build()
}

/// A Python program with our library.
fn ours(rig: &Rig, program: &str) -> Invocation {
    let sdk = rig.path().join("sdk");
    if !sdk.exists() {
        rig.program().python_sdk(&sdk);
    }
    rig.invoke(Path::new("python3"))
        .env("PYTHONPATH", sdk)
        .env("MASTER_URL", rig.master_url())
        .args(["-c", program])
}

fn steps(run: Run) -> Steps {
    let run = run.ok();
    run.stdout
        .lines()
        .map(|line| {
            let mut step: BTreeMap<String, Json> = serde_json::from_str(line).unwrap();
            let name = step.remove("step").unwrap().as_str().unwrap().to_owned();
            // What is raised counts; its text is what we say better.
            step.remove("says");
            (name, json!(step))
        })
        .collect()
}

/// Fails unless ours saw what the released library saw, but for these steps.
#[track_caller]
fn same(released: &Steps, ours: &Steps, on_purpose: &[(&str, Json)]) {
    let mut differences = Vec::new();
    for ((name, expected), (own_name, found)) in released.iter().zip(ours) {
        assert_eq!(name, own_name);
        let other = on_purpose.iter().find(|(step, _)| step == name);
        let expected = other.map_or(expected, |(_, ours)| ours);
        if expected != found {
            differences.push(format!(
                "{name}:\n  expected {expected}\n  found    {found}"
            ));
        }
    }
    assert_eq!(released.len(), ours.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn both_libraries_see_the_same_with_upstreams_master_and_ours() {
    let rig = builder();
    let Some(peer) = Peer::get(&rig) else {
        return;
    };
    rig.start_master_as(&peer.slapos(&rig, &["proxy", "start"]));
    let released = steps(peer.python(&rig, LIBRARY));
    assert!(released.len() > 80, "the program ran to its end");
    let parameters =
        json!({"empty": "", "lines": "a\nb", "name": "w\u{f6}rld & <co>", "number": "1"});
    let mut on_purpose = vec![
        // Upstream does not look where the answer has it.
        ("request: type before a fetch", json!({"gives": "default"})),
        // An empty text stays one, and the title is told.
        (
            "information",
            json!({"gives": {
                "_title": "first", "_requested_state": "started", "_slap_state": "started",
                "_software_release_url": "/releases/one/software.cfg",
                "_source_reference": "default", "_parameter_dict": parameters,
                "_root_slave": 0, "_portal_type": "Instance Tree",
            }}),
        ),
        // What is asked for is a compute node, whatever upstream's proxy calls it.
        (
            "information of a node",
            json!({"gives": {
                "_reference": "local_computer", "_title": "local_computer",
                "_portal_type": "Compute Node",
            }}),
        ),
    ];
    let theirs = builder();
    theirs.start_master_as(&peer.slapos(&theirs, &["proxy", "start"]));
    same(&released, &steps(ours(&theirs, LIBRARY).run()), &on_purpose);
    // Where our Master answers otherwise, whoever asks: tests/interop.rs tells why.
    on_purpose.extend([
        (
            "unknown node: getState of a partition",
            json!({"raises": "NotFoundError"}),
        ),
        (
            "shared: publish for nobody",
            json!({"raises": "NotFoundError"}),
        ),
    ]);
    let own = builder();
    own.start_master();
    same(&released, &steps(ours(&own, LIBRARY).run()), &on_purpose);
}

/// A full Master with an administrator's certificate and that of a node that was never there.
fn full_master() -> Rig {
    let rig = builder();
    rig.start_full_master();
    let welcome = rig.welcome();
    let url = rig.full_master_url();
    let client = [
        "configure",
        "client",
        "--master-url",
        &url,
        "--token",
        &welcome.token,
        "--fingerprint",
        &welcome.fingerprint,
        "--force",
    ];
    rig.slapos(client).run().ok();
    let release = "http://example.org/app/1.0/software.cfg";
    for line in [
        &["product", "add", "app"][..],
        &["product", "release", "add", "app", release],
        &["node", "add", "one"],
    ] {
        rig.slapos(["master"])
            .args(line)
            .arg("--data-dir")
            .arg(rig.full_master_data())
            .directory(rig.path())
            .run()
            .ok();
    }
    rig
}

/// Tells a program who it is.
fn identified(rig: &Rig, program: Invocation) -> Invocation {
    let path = |name: &str| rig.path().join(name);
    // The rig's configuration is where the client's files are.
    program
        .env("MASTER_URL", rig.full_master_url())
        .env("PERSON_CERT", path("client.crt"))
        .env("PERSON_KEY", path("client.key"))
        .env("NODE_CERT", path("COMP-1.crt"))
        .env("NODE_KEY", path("COMP-1.key"))
}

#[test]
fn both_libraries_see_the_same_with_a_master_with_accounts() {
    let rig = full_master();
    let Some(peer) = Peer::get(&rig) else {
        return;
    };
    let python = rig.invoke(&peer.client.with_file_name("python"));
    let program = python.args(["-W", "ignore", "-c", PERSON]);
    let released = steps(identified(&rig, program).run());
    assert!(released.len() > 40, "the program ran to its end");
    let own = full_master();
    let program = identified(&own, ours(&own, PERSON)).env("CA", own.path().join("ca.crt"));
    let own = steps(program.run());
    // Upstream's exceptions for these are another library's.
    let on_purpose = [
        ("format by the person", json!({"raises": "RefusedError"})),
        ("another's work", json!({"raises": "AuthenticationError"})),
    ];
    same(&released, &own, &on_purpose);
}

#[test]
fn what_a_request_leaves_out_stays_with_every_master() {
    let program = "\
import os, slapos.slap
slap = slapos.slap.slap()
slap.initializeConnection(os.environ['MASTER_URL'])
order = slap.registerOpenOrder()
release = 'http://example.org/a.cfg'
def show(*arguments, **named):
    instance = order.request(release, 'mine', *arguments, **named)
    kept = instance._connection_helper.value('registerComputerPartition', {
        'computer_reference': 'local_computer',
        'computer_partition_reference': instance.getId()})
    own = {k: v for k, v in kept._parameter_dict.items() if k in ('a', 'b')}
    print(kept.getState(), own, kept._parameter_dict['slap_software_type'])
show({'a': '1', 'b': '2'}, 'kind', state='stopped')
show()
show({'a': '3'})
show(state='started')
show({})
show(software_type='other')
";
    let check = |rig: &Rig| {
        let run = ours(rig, program).run().ok();
        assert_eq!(
            run.stdout,
            "stopped {'a': '1', 'b': '2'} kind\n\
             stopped {'a': '1', 'b': '2'} kind\n\
             stopped {'a': '3'} kind\n\
             started {'a': '3'} kind\n\
             started {} kind\n\
             started {} other\n"
        );
    };
    let own = builder();
    own.start();
    check(&own);
    let theirs = builder();
    let Some(peer) = Peer::get(&theirs) else {
        return;
    };
    theirs.start_master_as(&peer.slapos(&theirs, &["proxy", "start"]));
    theirs.node("format", &[]).ok();
    check(&theirs);
}

#[test]
fn a_person_waits_at_a_master_with_accounts() {
    let rig = full_master();
    // All that the other program has before it begins, and a node that works later.
    let (names, _) = PERSON.split_once("step(\"product\"").unwrap();
    let program = format!(
        "{names}
import threading
format_node()
supply.supply(RELEASE, NODE)
instance = request()
print(instance)
def work():
    node().getSoftwareReleaseList()[0].available()
    part = node().getComputerPartitionList()[0]
    part.setConnectionDict({{'url': 'http://[::1]/'}})
    part.error('it does not start')
    part.started()
threading.Timer(0.2, work).start()
print(instance.wait(timeout=60))
print(instance.getActualState(), person.registerToken().request() != '')
print(person._catalogue())
gone = order.request(RELEASE, 'mine', state='destroyed')
threading.Timer(0.2, lambda: node().getComputerPartitionList()[0].destroyed()).start()
gone.wait(timeout=60)
print(person.getOpenOrderDict())
"
    );
    let program = identified(&rig, ours(&rig, &program)).env("CA", rig.path().join("ca.crt"));
    assert_eq!(
        program.run().ok().stdout,
        "<ComputerPartition 'mine' not ready yet: no node of project PROJ-1 has release \
         http://example.org/app/1.0/software.cfg available: 1 asked to install it but not \
         building yet (COMP-1)>\n\
         <ComputerPartition 'mine' started on part0 of COMP-1 http://[::1]/>\n\
         started True\n\
         {'app': 'http://example.org/app/1.0/software.cfg'}\n\
         {}\n"
    );
}

#[test]
fn threads_share_a_connection_and_none_holds_up_the_others() {
    let rig = builder();
    rig.start();
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let program = "\
import os, sys, threading, slapos.slap
slap = slapos.slap.slap()
slap.initializeConnection(os.environ['MASTER_URL'])
deaf = slapos.slap.slap()
deaf.initializeConnection(os.environ['DEAF'], timeout=3600)
threading.Thread(target=deaf.registerSupply().supply, args=('http://x/', 'COMP-1'),
                 daemon=True).start()
order = slap.registerOpenOrder()
seen, failed = [], []
def work(number):
    try:
        for turn in range(5):
            title = 'i%d' % (number % 3)
            seen.append(order.request('http://x/software.cfg', title).getId())
            slap.getOpenOrderDict()
            slap.registerComputer('local_computer').getComputerPartitionList()
    except Exception as error:
        failed.append(error)
threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(seen), sorted(set(seen)), failed)
";
    let url = format!("http://{}/", deaf.local_addr().unwrap());
    let run = ours(&rig, program).env("DEAF", url).run().ok();
    assert_eq!(run.stdout, "80 ['part0', 'part1', 'part2'] []\n");
}

#[test]
fn an_instance_is_waited_for_until_its_node_has_reported() {
    let rig = builder();
    rig.start();
    let program = "\
import os, threading, slapos.slap
slap = slapos.slap.slap()
slap.initializeConnection(os.environ['MASTER_URL'])
instance = slap.registerOpenOrder().request('http://x/software.cfg', 'mine')
print(instance, instance.getState(), instance.getActualState())
try:
    instance.wait(timeout=0, progress=print)
except slapos.slap.ResourceNotReady as why:
    print(why)
def part(name='part0'):
    return slap.registerComputerPartition('local_computer', name)
def node():
    part().setConnectionDict({'backend-url': 'http://b/', 'url': 'https://[::1]/'})
    part().started()
timer = threading.Timer(0.2, node)
timer.start()
print(instance.wait(timeout=60).getConnectionParameter('url'), instance.getActualState())
print(instance)
print(slap.registerComputer('local_computer'), slap.registerOpenOrder().getInformation('mine'))
try:
    slap.registerOpenOrder().getInformation('mime')
except slapos.slap.NotFoundError as why:
    print(why)
child = part().request('http://x/software.cfg', 'default', 'child')
print(child, child._request_dict['partition_reference'])
def child_starts():
    part('part1').setConnectionDict({'a': 'b'})
    part('part1').started()
threading.Timer(0.2, child_starts).start()
print(child.wait(timeout=60).getConnectionParameterDict())
gone = slap.registerOpenOrder().request('http://x/software.cfg', 'mine', state='destroyed')
threading.Timer(0.2, lambda: [part(name).destroyed() for name in ('part0', 'part1', 'part0')]).start()
print(gone.wait(timeout=60), list(slap.getOpenOrderDict()))
";
    let run = ours(&rig, program).run().ok();
    assert_eq!(
        run.stdout,
        "<ComputerPartition 'mine' started on part0 of local_computer> started None\n\
         mine: on part0 of local_computer, not yet started\n\
         mine is not ready after 0 s: on part0 of local_computer, not yet started\n\
         https://[::1]/ started\n\
         <ComputerPartition 'mine' started on part0 of local_computer https://[::1]/>\n\
         <Computer local_computer> <SoftwareInstance 'mine' started http://x/software.cfg>\n\
         there is no instance `mime`; did you mean `mine`?\n\
         <ComputerPartition 'child' started on part1 of local_computer> child\n\
         {'a': 'b'}\n\
         <ComputerPartition 'mine' destroyed on part0 of local_computer https://[::1]/> []\n"
    );
}

#[test]
fn the_wheel_is_all_a_program_needs() {
    let rig = builder();
    let wheels = rig.path().join("wheels");
    let Some(wheel) = rig.program().python_wheel(&wheels) else {
        return;
    };
    rig.start();
    let name = wheel.file_name().unwrap().to_string_lossy().into_owned();
    assert!(
        name.starts_with("slapos_sdk-") && name.contains("-cp39-abi3-"),
        "{name}"
    );
    let venv = rig.path().join("venv");
    let python = rig.invoke(Path::new("python3"));
    python.args(["-m", "venv"]).arg(&venv).run().ok();
    rig.invoke(&venv.join("bin/pip"))
        .args(["install", "-q", "--no-index", "--disable-pip-version-check"])
        .arg(&wheel)
        .run()
        .ok();
    let program = "\
import os, threading, slapos.slap
from slapos.slap.slap import ComputerPartition
from slapos.slap.exception import NotFoundError
slap = slapos.slap.slap()
slap.initializeConnection(os.environ['MASTER_URL'])
found = {}
def work(title):
    found[title] = slap.registerOpenOrder().request('http://x/software.cfg', title)
threads = [threading.Thread(target=work, args=(str(number),)) for number in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(found), {type(one) is ComputerPartition for one in found.values()})
try:
    work('one too many')
except NotFoundError as error:
    print(error)
import importlib.metadata, importlib.resources
print(importlib.metadata.requires('slapos-sdk'))
print(importlib.resources.files('slapos.slap').joinpath('py.typed').is_file())
";
    let run = rig
        .invoke(&venv.join("bin/python"))
        .env("MASTER_URL", rig.master_url())
        .args(["-c", program])
        .run()
        .ok();
    assert_eq!(
        run.stdout,
        "['0', '1', '2'] {True}\n\
         requestComputerPartition: No free computer partition found for: one too many\n\
         None\nTrue\n"
    );
    // A console without a module of its own uses the one that is installed.
    let alone = rig.path().join("slapos");
    std::fs::copy(&rig.program().path, &alone).unwrap();
    rig.write("where.py", "print(slapos.slap.__file__)");
    let run = rig
        .invoke(&alone)
        .args(["console", "where.py"])
        .env("VIRTUAL_ENV", &venv)
        .directory(rig.path());
    let place = run.run().ok().stdout;
    assert!(place.starts_with(venv.to_str().unwrap()), "{place}");
}

#[test]
fn a_refusal_is_what_programs_for_upstreams_library_catch() {
    let rig = builder();
    rig.start();
    // As much of the library `requests` as there is in their except clauses.
    rig.write(
        "requests.py",
        "import sys\nclass HTTPError(IOError):\n    def __init__(self, *a, response=None):\n        \
         super().__init__(*a)\n        self.response = response\nexceptions = sys.modules[__name__]\n\
         class Response: pass\n",
    );
    let program = "\
import os, sys, slapos.slap
slap = slapos.slap.slap()
slap.initializeConnection(os.environ['MASTER_URL'])
def refused():
    slap._connection_helper.GET('supplySupply')
try:
    refused()
except slapos.slap.RefusedError as error:
    print(type(error).__mro__[1].__name__, error.status)
sys.path.insert(0, os.environ['PLACE'])
import requests
try:
    refused()
except requests.exceptions.HTTPError as error:
    print(type(error).__name__, isinstance(error, slapos.slap.RefusedError),
          error.response.status_code, str(error) == error.response.reason)
";
    let run = ours(&rig, program).env("PLACE", rig.path()).run().ok();
    assert_eq!(
        run.stdout,
        "SlapException 405\nRefusedError True 405 True\n"
    );
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    // Nobody listens there: what is sent would be a ConnectionError.
    let rig = builder();
    let program = "\
import os, re, slapos.slap
def connect(url=os.environ['MASTER_URL'], **more):
    slap = slapos.slap.slap()
    slap.initializeConnection(url, **more)
    return slap
slap = connect()
order, supply = slap.registerOpenOrder(), slap.registerSupply()
url = 'http://x/software.cfg'
deep = []
for level in range(200): deep = [deep]
round = {}
round['round'] = round
for call in (
    lambda: order.request(url, 'a', state='bogus'),
    lambda: order.request(url, ''),
    lambda: order.request(url, 'a' * 100000),
    lambda: order.request('', 'a'),
    lambda: order.request(order, 'a'),
    lambda: order.request(url, 7),
    lambda: order.request(url, 'a', ['b']),
    lambda: order.request(url, 'a', {1: 'b'}),
    lambda: order.request(url, 'a', {'b': object()}),
    lambda: order.request(url, 'a', {'b': '\\x00'}),
    lambda: order.request(url, 'a', {'b': '\\ud800'}),
    lambda: order.request(url, 'a', {'b': deep}),
    lambda: order.request(url, 'a', round),
    lambda: order.request(url, 'a', {'b': 1 << 200}),
    lambda: order.request(url, 'a', filter_kw='COMP-1'),
    lambda: supply.supply(url),
    lambda: supply.supply(url, 'COMP-1', 'bogus'),
    lambda: slap.registerComputerPartition('', 'part0'),
    lambda: slap.registerComputer('').getComputerPartitionList(),
    lambda: connect(timeout=-1),
    lambda: connect('no url').registerSupply().supply(url, 'COMP-1'),
    lambda: connect('https://127.0.0.1:1', master_ca_file='/nowhere').getOpenOrderDict(),
    lambda: slapos.slap.slap().registerOpenOrder(),
    lambda: slapos.slap.OpenOrder().request(url, 'a'),
):
    try:
        print(call())
    except Exception as error:
        print(type(error).__name__ + ':', re.sub('0x[0-9a-f]+', '0x…', str(error)))
";
    let run = ours(&rig, program).run().ok();
    insta::assert_snapshot!(run.stdout);
}
