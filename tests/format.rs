//! `slapos node format` as root, in network, mount and process namespaces of the test's own with an
//! `/etc` of its own: the machine that runs the tests keeps its users and its network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod namespaces;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use namespaces::{in_namespaces, rig, sh};
use node::format::arithmetic::{Prefix, RangeKind};
use rustix::process::Signal;
use testkit::{Peer, Random, Rig, eventually, kill};

/// All of the machine that format may change, as text.
fn machine(rig: &Rig) -> String {
    let path = rig.path().display();
    sh(&format!(
        "ip -oneline address show | grep -v '^[0-9]*: [a-z0-9]* *inet6 fe80' | sed 's/valid_lft.*//'
         ip -oneline link show | sed 's/^[0-9]*: //; s/ link.*//; s/<.*>//; s/state [A-Z]*//'
         ip -4 route show; ip -6 route show | grep -v ^fe80
         ip -6 route show table local | grep -v -e fe80: -e ff00:
         cat /proc/sys/net/ipv6/ip_nonlocal_bind
         sort /etc/passwd; sort /etc/group; cut -d: -f1-2 /etc/shadow | sort; sort /etc/gshadow
         find {path} -path {path}/proxy.db\\* -o -path {path}/log/\\* -o -path {path}/home/\\* -o \
             -printf '%p %m %u:%g\\n' | sort"
    ))
}

/// What `format` said it did: the steps on standard error.
fn steps(run: &testkit::Run) -> Vec<String> {
    let is_step = |line: &&str| {
        [
            "create ",
            "add address",
            "give ",
            "change ",
            "lock ",
            "set ",
            "ip -",
        ]
        .iter()
        .any(|head| line.contains(head))
    };
    let lines = run.stderr.lines().filter(is_step);
    lines.map(str::to_owned).collect()
}

#[test]
fn n_5_format_makes_everything_once_and_undo_leaves_nothing() {
    if !in_namespaces("n_5_format_makes_everything_once_and_undo_leaves_nothing") {
        return;
    }
    let rig = rig(
        2,
        &[
            "create_tun = True",
            "certificate_repository_path = /tmp/../etc/slap-pki",
        ],
    );
    rig.start_master();
    let before = machine(&rig);

    let run = rig.node("format", &["--dry_run"]).ok();
    let run = run
        .says("would create user swuser1")
        .says("would add address fd00:1:2::3/48 to up0");
    assert!(
        run.stderr.contains("would create tap swtap0 for swuser0"),
        "{run}"
    );
    assert_eq!(machine(&rig), before, "a dry run changes nothing");

    rig.node("format", &[])
        .ok()
        .says("slapos successfully prepared the computer.");
    let inst = rig.path().join("inst");
    for index in 0..2_usize {
        let partition = inst.join(format!("part{index}"));
        let metadata = fs::metadata(&partition).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o750);
        let user = sh(&format!("id swuser{index}"));
        assert!(
            user.contains(&format!("uid={}(swuser{index})", metadata.uid())),
            "{user}"
        );
        assert!(
            user.contains(&format!("gid={}(swuser{index})", metadata.gid())),
            "{user}"
        );
        assert!(user.contains("(swsoft)"), "{user}");
        let entry = sh(&format!(
            "getent passwd swuser{index}; passwd -S swuser{index}"
        ));
        assert!(
            entry.contains(&format!(":{}:/bin/sh", partition.display())),
            "{entry}"
        );
        assert!(entry.contains(&format!("swuser{index} L ")), "{entry}");
        let resource = partition.join(".slapos-resource");
        assert_eq!(fs::metadata(&resource).unwrap().uid(), 0);
        let text = fs::read_to_string(resource).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let v4 = json["address_list"][0]["addr"].as_str().unwrap();
        assert!(v4.starts_with("10.77."), "{v4}");
        let addresses = sh("ip address show up0");
        assert!(addresses.contains(&format!("inet {v4}/32")), "{addresses}");
        let v6 = format!("fd00:1:2::{}", index + 2);
        assert_eq!(json["address_list"][1]["addr"], v6);
        assert_eq!(json["address_list"][1]["netmask"], "ffff:ffff:ffff::");
        assert!(addresses.contains(&format!("inet6 {v6}/48")), "{addresses}");
        let number = index + 1;
        assert_eq!(
            json["ipv6_range"]["network"],
            format!("fd00:1:2:400{number}::/64")
        );
        assert_eq!(
            json["tap"]["ipv6_addr"],
            format!("fd00:1:2:800{number}:ffff:ffff:ffff:ffff")
        );
        assert_eq!(
            json["tap"]["ipv6_gateway"],
            format!("fd00:1:2:800{number}::1")
        );
        assert_eq!(
            json["tap"]["ipv6_network"],
            format!("fd00:1:2:800{number}::1/64")
        );
        assert_eq!(json["tun"]["name"], format!("slaptun{index}"));
        assert_eq!(json["tun"]["ipv6_addr"], format!("fd00:1:2:c00{number}::1"));
        let tap = sh(&format!(
            "ip -d link show swtap{index}; ip -6 route show dev swtap{index}"
        ));
        assert!(tap.contains(&format!("user swuser{index}")), "{tap}");
        assert!(
            tap.contains(&format!(
                "fd00:1:2:800{number}::/64 via fd00:1:2:800{number}::1"
            )),
            "{tap}"
        );
        // Any address of the range can be bound at once.
        sh(&format!(
            "python3 -c 'import socket; s = socket.socket(socket.AF_INET6); \
             s.bind((\"fd00:1:2:400{number}::abcd\", 7))'"
        ));
    }
    assert_eq!(
        fs::metadata(&inst).unwrap().permissions().mode() & 0o7777,
        0o755
    );
    let soft = fs::metadata(rig.path().join("soft")).unwrap();
    assert!(sh("id -u swsoft").trim() == soft.uid().to_string());
    assert_eq!(
        fs::metadata("/etc/slap-pki").unwrap().permissions().mode() & 0o7777,
        0o711
    );
    assert_eq!(sh("cat /proc/sys/net/ipv6/ip_nonlocal_bind").trim(), "1");
    // The Master knows them.
    let document = rig.client().node(&rig.node_id()).unwrap();
    assert_eq!(document.partitions.len(), 2);

    let formatted = machine(&rig);
    let state = rig.read("computer.json");
    let run = rig.node("format", &[]).ok();
    assert_eq!(steps(&run), Vec::<String>::new(), "{run}");
    assert_eq!(machine(&rig), formatted);
    assert_eq!(rig.read("computer.json"), state);

    // A reboot takes what the kernel held, and somebody a mode.
    sh(&format!(
        "ip link delete swtap0; ip link delete slaptun1; ip address flush dev up0
         ip address add fd00:1:2::1/48 dev up0 nodad
         ip -6 route flush table local dev lo || true
         ip -6 route add local ::1 dev lo || true
         chmod 0777 {}/part1",
        inst.display()
    ));
    rig.node("format", &[]).ok();
    assert_eq!(rig.read("computer.json"), state);
    assert_eq!(
        fs::metadata(inst.join("part1"))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777,
        0o750
    );
    let run = rig.node("format", &[]).ok();
    assert_eq!(steps(&run), Vec::<String>::new(), "{run}");

    let run = rig.node("format", &["--undo", "--dry_run"]).ok();
    run.says("would remove user swuser0");
    assert!(inst.join("part0").is_dir());
    rig.node("format", &["--undo"]).ok();
    let without_local = |text: String| {
        let lines = text.lines().filter(|line| !line.starts_with("local "));
        lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    // The local routes of the node's own addresses went with the flush above.
    assert_eq!(without_local(machine(&rig)), without_local(before));
    rig.node("format", &["--undo"]).ok().says("nothing to undo");
}

#[test]
fn n_5_a_format_that_is_killed_can_be_finished_and_undone() {
    if !in_namespaces("n_5_a_format_that_is_killed_can_be_finished_and_undone") {
        return;
    }
    let rig = rig(4, &[]);
    let before = machine(&rig);
    let mut random = Random::from_environment("n_5_a_format_that_is_killed");
    for finish in [true, false, true] {
        for _ in 0..3 {
            let running = rig
                .slapos(["node", "format", "--now"])
                .start(&rig.path().join("log/format.log"));
            std::thread::sleep(Duration::from_millis(random.below(700)));
            kill(running.pid(), Signal::KILL);
            drop(running);
        }
        if finish {
            // The Master is away: prepared, but not told.
            rig.node("format", &[]).exits(2);
            let run = rig.node("format", &[]).exits(2);
            assert_eq!(steps(&run), Vec::<String>::new(), "{run}");
            let addresses = sh("ip -4 -oneline address show up0");
            assert_eq!(
                addresses.lines().count(),
                4,
                "no address is left over: {addresses}"
            );
        }
        rig.node("format", &["--undo"]).ok();
        assert_eq!(machine(&rig), before);
    }
}

#[test]
fn n_5_4_an_address_that_another_machine_has_is_not_taken() {
    if !in_namespaces("n_5_4_an_address_that_another_machine_has_is_not_taken") {
        return;
    }
    let rig = rig(2, &["create_tap = False"]);
    // The other machine.
    sh("unshare --net sleep 1000 < /dev/null > /dev/null 2>&1 & echo $! > /run/other.pid
        while [ \"$(readlink /proc/$(cat /run/other.pid)/ns/net)\" = \"$(readlink /proc/self/ns/net)\" ]; do :; done
        ip link set far0 netns $(cat /run/other.pid)
        nsenter --net --target $(cat /run/other.pid) ip link set far0 up
        nsenter --net --target $(cat /run/other.pid) ip address add fd00:1:2::2/48 dev far0 nodad");
    eventually("the link is there", Duration::from_secs(20), || {
        let link = sh("ip link show up0");
        if link.contains("LOWER_UP") {
            Ok(())
        } else {
            Err(link)
        }
    });
    rig.node("format", &[]).exits(2).says("fd00:1:2::2");
    let state: serde_json::Value = serde_json::from_str(&rig.read("computer.json")).unwrap();
    let address = |index: usize| {
        let address = &state["partition_list"][index]["address_list"][1]["addr"];
        address.as_str().unwrap().to_owned()
    };
    assert_ne!(address(0), "fd00:1:2::2");
    assert_eq!(address(1), "fd00:1:2::3");
    let addresses = sh("ip -6 address show up0");
    assert!(!addresses.contains("fd00:1:2::2/"), "{addresses}");
    assert!(
        addresses.contains(&format!("{}/48", address(0))),
        "{addresses}"
    );
    let run = rig.node("format", &[]).exits(2);
    assert_eq!(steps(&run), Vec::<String>::new(), "{run}");
}

#[test]
fn n_5_5_taps_get_addresses_of_the_gateways_network_and_disks_a_home() {
    if !in_namespaces("n_5_5_taps_get_addresses_of_the_gateways_network_and_disks_a_home") {
        return;
    }
    let disks = tempfile::tempdir().unwrap();
    for name in ["data1", "data22", "database", "other"] {
        fs::create_dir(disks.path().join(name)).unwrap();
    }
    fs::set_permissions(disks.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let home = format!("instance_storage_home = {}", disks.path().display());
    let rig = rig(
        2,
        &[
            "tap_gateway_interface = br9",
            "tap_ipv6 = False",
            "partition_has_ipv6_range = False",
            &home,
        ],
    );
    sh("ip link add br9 type bridge; ip link set br9 up; ip address add 10.88.0.2/29 dev br9");
    rig.node("format", &[]).exits(2);
    let state: serde_json::Value = serde_json::from_str(&rig.read("computer.json")).unwrap();
    let tap = &state["partition_list"][1]["tap"];
    assert_eq!(tap["ipv4_addr"], "10.88.0.3");
    assert_eq!(tap["ipv4_gateway"], "10.88.0.2");
    assert_eq!(tap["ipv4_netmask"], "255.255.255.248");
    assert_eq!(tap["ipv4_network"], "10.88.0.0");
    assert!(sh("ip route").contains("10.88.0.3 dev swtap1"));
    assert_eq!(
        state["partition_list"][0]["ipv6_range"],
        serde_json::json!({})
    );
    for disk in ["data1", "data22"] {
        let path = disks.path().join(disk).join("part0");
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o750);
        assert_eq!(sh("id -u swuser0").trim(), metadata.uid().to_string());
    }
    assert!(!disks.path().join("database/part0").exists());
    let list = &state["partition_list"][0]["external_storage_list"];
    assert_eq!(list.as_array().unwrap().len(), 2);
    let run = rig.node("format", &[]).exits(2);
    assert_eq!(steps(&run), Vec::<String>::new(), "{run}");
    // An instance's files are nobody's to remove.
    fs::write(rig.partition("part1").join("precious"), "x").unwrap();
    let run = rig
        .node("format", &["--undo"])
        .exits(1)
        .says("partitions are in use");
    assert!(run.stderr.contains("part1"), "{run}");
    assert!(sh("ip link").contains("swtap1"), "nothing was undone");
    fs::remove_file(rig.partition("part1").join("precious")).unwrap();
    rig.node("format", &["--undo"]).ok();
    assert!(!disks.path().join("data1/part0").exists());
    assert!(!sh("ip link").contains("swtap1"));
}

#[test]
fn n_5_3_users_that_exist_are_corrected_and_given_back() {
    if !in_namespaces("n_5_3_users_that_exist_are_corrected_and_given_back") {
        return;
    }
    let rig = rig(1, &["alter_network = False"]);
    sh(
        "groupadd oldgroup; useradd -M -d /nowhere -s /bin/bash -g oldgroup swuser0
        echo swuser0:secret | chpasswd -c SHA512",
    );
    let before = machine(&rig);
    rig.node("format", &[]).exits(2);
    let entry = sh("getent passwd swuser0; id swuser0; passwd -S swuser0");
    assert!(entry.contains("/inst/part0:/bin/sh"), "{entry}");
    assert!(
        entry.contains("(swuser0) groups") && entry.contains("(swsoft)"),
        "{entry}"
    );
    assert!(entry.contains("swuser0 L "), "{entry}");
    let run = rig.node("format", &[]).exits(2);
    assert_eq!(steps(&run), Vec::<String>::new(), "{run}");
    rig.node("format", &["--undo"]).ok();
    assert_eq!(machine(&rig), before);
    // Root is nobody's partition.
    let rig = self::rig_with_user("root");
    rig.node("format", &[])
        .exits(1)
        .says("cannot be the user of a partition");
}

fn rig_with_user(user: &str) -> Rig {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos"))
        .partitions(1)
        .option("alter_user = True")
        .build();
    let definition = format!(
        "[computer]\naddress = 127.0.0.1/255.255.255.255\nsoftware_user = swsoft\n[partition_0]\n\
         address = 127.0.0.1/255.255.255.255\nuser = {user}\npathname = part0\n"
    );
    rig.write("definition.cfg", definition);
    rig
}

/// The released upstream computes the same addresses, for any prefix, index and shift.
#[test]
fn n_5_4_addresses_are_those_of_upstream() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    let Some(_) = Peer::get(&rig) else { return };
    let mut random = Random::from_environment("n_5_4_addresses_are_those_of_upstream");
    let mut cases = Vec::new();
    while cases.len() < 3000 {
        let address = u128::from(random.number()) << 64 | u128::from(random.number());
        let (length, shift) = (random.below(129) as u32, 2 + random.below(22) as u32);
        let index = random.below(400) as usize;
        if 1_u64 << shift >= 4 * (index as u64 + 2) {
            let address = std::net::Ipv6Addr::from(address);
            cases.push((address.to_string(), length, shift, index));
        }
    }
    rig.write("cases.json", serde_json::to_string(&cases).unwrap());
    let program = format!(
        "
import json
from slapos import util
answers = []
for addr, prefixlen, shift, index in json.load(open('{}/cases.json')):
  prefix = dict(addr=addr, prefixlen=prefixlen)
  answer = [util.getPartitionIpv6Addr(prefix, index)['addr']]
  for function in util.getPartitionIpv6Range, util.getTapIpv6Range, util.getTunIpv6Range:
    try:
      found = function(prefix, index, shift)
      answer.append('%(addr)s/%(prefixlen)s' % found)
      # Longer prefixes make upstream append a digit to the last group.
      small = found['prefixlen'] > 112
      answer.append(None if small else util.getIpv6RangeFirstAddr(found['addr'], found['prefixlen']))
    except ValueError:
      answer.append(None)
      answer.append(None)
  answers.append(answer)
print(json.dumps(answers))
",
        rig.path().display()
    );
    let peer = Peer::get(&rig).unwrap();
    let run = peer.python(&rig, &program).ok();
    let answers: Vec<Vec<Option<String>>> = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(answers.len(), cases.len());
    for ((address, length, shift, index), answer) in cases.into_iter().zip(answers) {
        let prefix = Prefix {
            address: address.parse().unwrap(),
            length,
        };
        let mut ours = vec![Some(prefix.partition_address(index).to_string())];
        for kind in [RangeKind::Partition, RangeKind::Tap, RangeKind::Tun] {
            let range = prefix.range(index, shift, kind);
            ours.push(range.map(|range| format!("{}/{}", range.address, range.length)));
            let range = range.filter(|range| range.length <= 112);
            ours.push(range.map(|range| range.first().to_string()));
        }
        // Addresses are compared as addresses: both sides may shorten them differently.
        let normal = |texts: &[Option<String>]| -> Vec<_> {
            let parse = |text: &String| {
                let (address, length) = text.split_once('/').unwrap_or((text, ""));
                (
                    address.parse::<std::net::Ipv6Addr>().unwrap(),
                    length.to_owned(),
                )
            };
            texts.iter().map(|text| text.as_ref().map(parse)).collect()
        };
        assert_eq!(
            normal(&ours),
            normal(&answer),
            "{address}/{length} shift {shift} index {index}"
        );
    }
}
