//! Managers and the firewall (N 3.3, 7), against a Master that answers what the test says, with a
//! real supervisor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{Fake, Node, eventually, script};
use node::{LogObserver, NodeConfig, Outcome, instance, report};
use slap::{InstanceState, Value, marshal};

/// A node with one instance that has this file, and a configuration with more lines.
struct World {
    node: Node,
    fake: Fake,
    more: String,
}

impl World {
    fn new(more: &str) -> World {
        let node = Node::new(1);
        node.with_release();
        World {
            node,
            fake: Fake::new(),
            more: more.to_owned(),
        }
    }

    fn config(&self) -> NodeConfig {
        self.node.config(&self.more)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.node.path("inst/part0").join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.node.path(name)).unwrap_or_default()
    }

    /// The Master wants the instance like this, with these addresses.
    fn want(&self, state: InstanceState, timestamp: &str, addresses: &[(&str, &str)]) {
        self.node.want("part0", state, timestamp);
        let list = addresses.iter().map(|(interface, address)| {
            Value::List(vec![Value::text(*interface), Value::text(*address)])
        });
        let list = Value::List(list.collect());
        self.node.master.edit(|document| {
            let parameters = document.partitions[0].parameters.as_mut().unwrap();
            parameters.insert("ip_list".to_owned(), list);
        });
    }

    fn instance(&self) -> Outcome {
        let options = instance::Options::default();
        let outcome = instance::run_with(&self.config(), &options, &LogObserver, &self.fake);
        outcome.unwrap()
    }

    fn report(&self) -> Outcome {
        report::run(&self.config(), &report::Options::default(), &LogObserver).unwrap()
    }

    fn call_of(&self, name: &str) -> Option<String> {
        let calls = self.node.master.calls();
        calls.into_iter().find(|call| call.starts_with(name))
    }
}

#[test]
fn n_7_prerm_has_its_time_before_the_end() {
    let mut world = World::new("manager_list = prerm");
    let farewell = world.node.path("farewell").display().to_string();
    world.fake.partition = Box::new(move |job, _| {
        let text = format!(
            "echo begun >> {farewell}; while test ! -e {farewell}.go; do sleep 0.05; done; echo ended >> {farewell}"
        );
        script(&job.directory.join("etc/prerm/leave"), &text);
        script(&job.directory.join("etc/service/daemon"), "exec sleep 1000");
        Ok(())
    });
    world.want(InstanceState::Started, "1", &[]);
    assert_eq!(world.instance(), Outcome::Success);
    assert!(world.node.running("part0-prerm").is_empty(), "not yet");
    world.want(InstanceState::Destroyed, "2", &[]);
    world.report();
    assert!(world.call_of("destroyedComputerPartition").is_none());
    assert_eq!(world.node.running("part0-prerm"), ["leave"]);
    assert!(
        world.node.running("part0").is_empty(),
        "all else is stopped"
    );
    assert_eq!(
        world.read("inst/part0/.slapos-report-wait-service-list"),
        "part0-prerm:leave\n"
    );
    // Again, while it works: it is not disturbed.
    world.report();
    assert!(world.call_of("destroyedComputerPartition").is_none());
    fs::write(world.node.path("farewell.go"), "").unwrap();
    eventually("it has ended", || {
        world.node.running("part0-prerm").is_empty()
    });
    world.report();
    assert!(world.call_of("destroyedComputerPartition").is_some());
    assert_eq!(world.read("farewell"), "begun\nended\n", "once");
    assert!(!world.node.path("inst/part0/etc").exists());
    let left = world
        .node
        .path("inst/etc/supervisord.conf.d/part0-prerm.conf");
    assert!(!left.exists());
}

#[test]
fn n_7_portredir_keeps_ports_redirected() {
    let world = World::new("manager_list = portredir");
    let socat = world.node.path("socat");
    script(
        &socat,
        &format!("echo \"$@\" >> {}.log; exec sleep 1000", socat.display()),
    );
    let world = World {
        more: format!(
            "manager_list = portredir\n[manager:portredir]\nsocat = {}",
            socat.display()
        ),
        ..world
    };
    let v6 = [("lo", "10.0.0.9"), ("lo", "fd00::7")];
    world.want(InstanceState::Started, "1", &v6);
    assert_eq!(world.instance(), Outcome::Success);
    assert!(world.node.running("part0-socat").is_empty());
    world.write(
        ".slapos-port-redirect",
        r#"[{"srcPort": 8080, "destPort": 80}, {"type": "udp", "srcPort": "5353", "destPort": 53,
            "destAddress": "10.0.0.9"}, {"srcPort": "x", "destPort": 1}]"#,
    );
    // An unchanged instance is enough.
    assert_eq!(world.instance(), Outcome::Success);
    eventually("both are started", || {
        world.read("socat.log").lines().count() == 2
    });
    let log = world.read("socat.log");
    assert!(
        log.contains("TCP4-LISTEN:8080,fork TCP6:[fd00::7]:80"),
        "{log}"
    );
    assert!(
        log.contains("UDP4-LISTEN:5353,fork UDP4:10.0.0.9:53"),
        "{log}"
    );
    // A processing interrupts nothing.
    world.want(InstanceState::Started, "2", &v6);
    world.instance();
    world.instance();
    assert_eq!(world.read("socat.log"), log);
    world.write(
        ".slapos-port-redirect",
        r#"[{"srcPort": 8080, "destPort": 80}]"#,
    );
    world.instance();
    assert_eq!(world.node.running("part0-socat"), ["socat-tcp-8080"]);
    world.want(InstanceState::Stopped, "3", &v6);
    world.instance();
    assert!(world.node.running("part0-socat").is_empty());
}

#[test]
fn n_7_portredir_says_what_is_missing() {
    let world = World::new("manager_list = portredir\n[manager:portredir]\nsocat = /none");
    world.want(InstanceState::Started, "1", &[("lo", "fd00::7")]);
    assert_eq!(world.instance(), Outcome::Success);
    world.write(
        ".slapos-port-redirect",
        r#"[{"srcPort": 8080, "destPort": 80}]"#,
    );
    world.node.master.calls();
    assert_eq!(world.instance(), Outcome::Failure);
    let error = world.call_of("softwareInstanceError").unwrap();
    assert!(error.contains("`socat` is not installed"), "{error}");
}

#[test]
fn n_7_an_unknown_manager_is_told_and_hinders_nothing() {
    let world = World::new("manager_list = prerm, teleport");
    let config = world.config();
    assert_eq!(config.managers.names, ["prerm"]);
    let said = config.unsupported.join("");
    assert!(
        said.contains("manager `teleport`") && said.contains("whitelistfirewall"),
        "{said}"
    );
    world.want(InstanceState::Started, "1", &[]);
    assert_eq!(world.instance(), Outcome::Success);
}

/// A firewalld that knows direct rules and chains, and what it was told.
const FIREWALL_CMD: &str = r#"
db=$(dirname "$0")/rules; touch "$db"
echo "$*" >> "$(dirname "$0")/calls"
words=$(echo "$*" | sed 's/--permanent //; s/--direct //; s/--[a-z]*-\(rules*\|chain\) /\1 /')
kind=${words%% *}; rest=${words#* }
case "$*" in
  *--query-*) if grep -qxF -e "$words" "$db"; then echo yes; else echo no; exit 1; fi ;;
  *--add-*) echo "$words" >> "$db"; echo success ;;
  *--remove-rules*) grep -v "^rule $rest " "$db" > "$db.new"; mv "$db.new" "$db"; echo success ;;
  *--remove-*) grep -vxF -e "$words" "$db" > "$db.new"; mv "$db.new" "$db"; echo success ;;
  *--reload*) echo success ;;
  *) echo "what?"; exit 2 ;;
esac
"#;

fn with_firewall(more: &str) -> World {
    let world = World::new("");
    let command = world.node.path("firewall-cmd");
    script(&command, FIREWALL_CMD);
    let nobody = marshal::encode(&Value::List(Vec::new())).unwrap();
    let master = &world.node.master;
    master.answer("getHostingSubscriptionIpList", &[(200, &nobody)]);
    World {
        more: format!(
            "{more}\n[firewall]\nfirewall_cmd = {0}\nreload_config_cmd = {0} --reload\n\
             authorized_sources =\n  10.9.0.1\n  10.9.0.2",
            command.display()
        ),
        ..world
    }
}

#[test]
fn n_7_whitelistfirewall_lets_out_to_the_listed_only() {
    let world = with_firewall("manager_list = whitelistfirewall");
    world.want(InstanceState::Started, "1", &[]);
    world.write(
        ".slapos-whitelist-firewall",
        r#"["10.1.2.3", "fd00::1", "x", "10.1.2.4"]"#,
    );
    let outcome = world.instance();
    let error = world.call_of("softwareInstanceError");
    assert_eq!(outcome, Outcome::Success, "{error:?}");
    let uid = rustix::process::getuid().as_raw();
    let chain = "ipv4 filter part0-whitelist";
    let expected = format!(
        "chain {chain}\nrule {chain} 0 -d 10.1.2.3 -j ACCEPT\nrule {chain} 0 -d 10.1.2.4 -j ACCEPT\n\
         rule {chain} 0 -j REJECT\n\
         rule ipv4 filter OUTPUT 0 -m owner --uid-owner {uid} -j part0-whitelist\n"
    );
    assert_eq!(world.read("rules"), expected);
    let reloads = || world.read("calls").matches("--reload").count();
    assert_eq!(reloads(), 1);
    world.instance();
    assert_eq!(reloads(), 1, "nothing changed");
    world.write(".slapos-whitelist-firewall", "[]");
    world.instance();
    assert!(!world.read("rules").contains("ACCEPT"));
    assert_eq!(reloads(), 2);
    // What makes no sense changes nothing.
    world.write(".slapos-whitelist-firewall", "{");
    world.instance();
    assert!(world.read("rules").contains("REJECT"));
    world.want(InstanceState::Destroyed, "2", &[]);
    world.report();
    assert_eq!(world.read("rules"), "");
}

#[test]
fn n_3_3_only_the_tree_and_who_is_authorized_reach_an_instance() {
    let world = with_firewall("");
    let tree = Value::List(vec![Value::List(vec![
        Value::text("route_x"),
        Value::text("10.0.0.3"),
    ])]);
    let answer = marshal::encode(&tree).unwrap();
    world
        .node
        .master
        .answer("getHostingSubscriptionIpList", &[(200, &answer)]);
    let own = [
        ("route_x", "10.0.0.1"),
        ("route_y", "10.0.0.2"),
        ("lo", "10.0.0.4"),
    ];
    world.want(InstanceState::Started, "1", &own);
    assert_eq!(world.instance(), Outcome::Success);
    let rules = world.read("rules");
    // Three sources and two refusals, for both addresses, in both chains.
    assert_eq!(rules.lines().count(), (3 + 2) * 2 * 2, "{rules}");
    assert!(rules.contains("rule ipv4 filter INPUT 0 -s 10.0.0.3 -d 10.0.0.2 -j ACCEPT\n"));
    assert!(!rules.contains("10.0.0.4"));
    assert_eq!(world.read("calls").matches("--reload").count(), 1);

    // An instance does not command the machine's firewall by what it writes.
    let foreign = "rule ipv4 filter INPUT 0 -s 1.1.1.1 -d 9.9.9.9 -j ACCEPT";
    fs::write(world.node.path("rules"), format!("{rules}{foreign}\n")).unwrap();
    let order = format!("--permanent --direct --add-{foreign}; touch /tmp/evil");
    let list = serde_json::to_string(&[&order, &order.replace("; touch /tmp/evil", "")]).unwrap();
    world.write(".slapos-firewalld-rules", &list);
    world.want(InstanceState::Started, "2", &own[..1]);
    assert_eq!(world.instance(), Outcome::Success);
    let rules = world.read("rules");
    assert!(rules.contains(foreign), "{rules}");
    assert!(
        !rules.contains("10.0.0.2"),
        "what it lost is removed: {rules}"
    );

    world.want(InstanceState::Destroyed, "3", &own[..1]);
    world.instance();
    assert_eq!(world.read("rules"), format!("{foreign}\n"));

    // An agent removes it without processing it once more.
    world.want(InstanceState::Started, "4", &own[..1]);
    world.instance();
    assert!(world.read("rules").contains("10.0.0.1"));
    world.want(InstanceState::Destroyed, "5", &own[..1]);
    world.report();
    assert_eq!(world.read("rules"), format!("{foreign}\n"));
}

#[test]
fn n_2_6_the_firewalls_programs_are_kept() {
    let world = with_firewall("");
    let more = world.more.clone();
    let log = world.node.path("firewalld.log").display().to_string();
    let with = World {
        more: format!("{more}\nfirewall_executable = /bin/sleep 1000\nlog_file = {log}"),
        ..world
    };
    with.want(InstanceState::Started, "1", &[]);
    with.instance();
    assert_eq!(with.node.running("firewall"), ["firewall"]);
    let without = World { more, ..with };
    without.instance();
    assert!(without.node.running("firewall").is_empty());
}
