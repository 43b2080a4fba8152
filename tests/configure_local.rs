//! `slapos configure local` (N 6.8): from nothing to an instance that runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// Its rig is for nodes that have a configuration.
#[allow(dead_code)]
mod namespaces;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use namespaces::{in_namespaces, sh};
use testkit::{Invocation, Port, Rig, Run, Unprivileged, eventually, is_root};

const SOON: Duration = Duration::from_secs(60);

/// A machine with nothing on it but the program.
struct Machine {
    rig: Rig,
    user: Option<Unprivileged>,
    port: Port,
}

impl Machine {
    fn new(user: Option<Unprivileged>) -> Machine {
        Machine {
            rig: Rig::builder(env!("CARGO_BIN_EXE_slapos"))
                .user(user.clone())
                .build(),
            user,
            port: Port::reserve(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.rig.path().join("node").join(name)
    }

    /// The program, with nothing in its environment that leads to a configuration.
    fn slapos(&self, arguments: &[&str]) -> Run {
        Invocation::new(&self.rig.program().path, self.rig.path().join("home"))
            .user(self.user.clone())
            .args(arguments)
            .run()
    }

    fn configure(&self, more: &[&str]) -> Run {
        let etc = self.path("etc").display().to_string();
        let port = self.port.number().to_string();
        let mut arguments = vec![
            "configure",
            "local",
            "--slapos-configuration-directory",
            &etc,
            "--daemon-listen-port",
            &port,
            "--partition-number",
            "2",
        ];
        arguments.extend(more);
        self.slapos(&arguments)
    }

    fn configure_as_root(&self, more: &[&str]) -> Run {
        let place = |name: &str| self.path(name).display().to_string();
        let (software, instance, state) = (place("soft"), place("inst"), place("opt"));
        let mut arguments = vec![
            "--slapos-software-root",
            &software,
            "--slapos-instance-root",
            &instance,
            "--slapos-buildout-directory",
            &state,
            "--ipv4-local-network",
            "10.77.0.0/16",
        ];
        arguments.extend(more);
        self.configure(&arguments).ok()
    }

    /// Requests an instance and has it deployed.
    fn deploy(&self) {
        let file = self.path("etc/slapos.cfg");
        let cfg = file.to_str().unwrap();
        // The tests' builder, instead of one made from scratch; as root, one everybody can read.
        let target = self.rig.program().target_directory();
        let builder = if is_root() {
            let builder = target.join("test-builder-public");
            format!("{}\nbuilder_python = /usr/bin/python3", builder.display())
        } else {
            target.join("test-builder").display().to_string()
        };
        let text = fs::read_to_string(&file).unwrap().replacen(
            "[slapos]",
            &format!(
                "[slapos]\nbuilder_directory = {builder}\nsoftware_min_free_space = 1M\n\
                 instance_min_free_space = 1M"
            ),
            1,
        );
        fs::write(&file, text).unwrap();
        let release = self.rig.release("tests/software/services");
        self.slapos(&["supply", &release, "local_computer"]).ok();
        self.slapos(&["node", "software", "--now", "--cfg", cfg])
            .ok();
        self.slapos(&["request", "web", &release]);
        self.slapos(&["node", "instance", "--now", "--cfg", cfg])
            .ok();
        self.slapos(&["service", "wait", "web"]).ok();
        let status = self.slapos(&["node", "status", "--cfg", cfg]).ok();
        assert!(status.stdout.contains("slapproxy"), "{status}");
        assert!(status.stdout.contains("slappart"), "{status}");
    }
}

fn owner(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().uid()
}

#[test]
fn n_6_8_an_ordinary_user_gets_a_cloud_in_a_directory() {
    let machine = Machine::new(Unprivileged::when_root());
    let run = machine.configure(&[]).ok();
    let run = run.says("this machine is a cloud of its own");
    assert!(!run.stderr.contains("cannot tell the Master"), "{run}");
    for name in [
        "software",
        "instance/slappart1",
        "var/proxy.db",
        "var/slapos.xml",
    ] {
        assert!(machine.path(name).exists(), "{name}: {run}");
    }
    let client = machine.rig.path().join("home/.slapos/slapos-client.cfg");
    assert_eq!(
        fs::read_link(client).unwrap(),
        machine.path("etc/slapos.cfg")
    );
    let list = machine
        .slapos(&["computer", "list", "--output", "json"])
        .ok();
    assert!(list.stdout.contains("local_computer"), "{list}");

    // Again it refuses, and touches nothing.
    let before = fs::read(machine.path("etc/slapos.cfg")).unwrap();
    machine.configure(&[]).exits(1).says("already exists");
    assert_eq!(fs::read(machine.path("etc/slapos.cfg")).unwrap(), before);

    // The Master is the supervisor's: killed, it comes back.
    let find = || {
        let all = machine.rig.processes();
        let mut found = all
            .iter()
            .filter(|found| found.command.contains(" proxy start "));
        found.next().map(|found| found.pid)
    };
    let pid = find().expect("the Master runs");
    testkit::kill(pid, rustix::process::Signal::KILL);
    eventually("another Master answers", SOON, || {
        let list = machine.slapos(&["computer", "list"]);
        if find().is_some_and(|found| found != pid) && list.code() == 0 {
            Ok(())
        } else {
            Err(list)
        }
    });
}

#[test]
fn n_6_8_a_request_is_served_end_to_end() {
    serve_a_request();
}

fn serve_a_request() {
    let machine = Machine::new(None);
    machine.configure(&["--unprivileged"]).ok();
    machine.deploy();
}

#[test]
fn n_6_8_releases_go_through_the_network_cache_of_the_machine() {
    let machine = Machine::new(None);
    machine
        .configure(&["--unprivileged", "--enable-shacache-proxy"])
        .ok();
    let file = machine.path("etc/slapos.cfg");
    // The release is at a path, which is not given away by itself.
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("blacklist =\n  /\n").count(), 2, "{text}");
    fs::write(&file, text.replace("blacklist =\n  /\n", "blacklist =\n")).unwrap();
    machine.deploy();
    let cache = machine.path("instance/shacache");
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(cache.join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("signing-key.pem")), (0o700, 0o600));
    let keys: Vec<_> = fs::read_dir(cache.join("dir")).unwrap().collect();
    assert_eq!(keys.len(), 1, "{keys:?}");

    // Gone here, and from where it was built from: it comes back from the cache.
    let key = keys[0].as_ref().unwrap().file_name();
    let built = machine.path("software").join(key);
    fs::remove_dir_all(&built).unwrap();
    let releases = machine.rig.path().join("releases");
    fs::rename(&releases, releases.with_extension("away")).unwrap();
    let cfg = file.to_str().unwrap();
    let run = machine.slapos(&["node", "software", "--now", "--all", "--cfg", cfg]);
    assert!(built.join("instance.cfg").exists(), "{run}");
}

#[test]
fn n_6_8_refusals_make_nothing() {
    let machine = Machine::new(Unprivileged::when_root());
    machine
        .slapos(&["configure", "local"])
        .exits(5)
        .says("--slapos-configuration-directory");
    let _taken = std::net::TcpListener::bind(("127.0.0.1", machine.port.number())).unwrap();
    machine.configure(&[]).exits(1).says("cannot listen on");
    assert!(!machine.path("").exists());
}

#[test]
fn n_6_8_root_gets_users_and_addresses() {
    if std::env::var_os("SLAPOS_TEST_INSIDE").is_none() && is_root() {
        // Where PyPI is: the builder is made.
        serve_a_request();
    }
    if !in_namespaces("n_6_8_root_gets_users_and_addresses") {
        return;
    }
    // Where there are no addresses to give, partitions have users all the same.
    let machine = Machine::new(None);
    let run = machine
        .configure_as_root(&[])
        .says("lo has no global IPv6 address");
    let user = sh("id -u slapuser0").trim().parse::<u32>().unwrap();
    assert_eq!(owner(&machine.path("inst/slappart0")), user, "{run}");
    let text = fs::read_to_string(machine.path("etc/slapos.cfg")).unwrap();
    assert!(text.contains("alter_network = False"), "{text}");

    sh("ip link add up0 type veth peer name far0
        ip link set up0 up
        ip link set far0 up
        ip address add fd00:1:2::1/48 dev up0 nodad");
    let machine = Machine::new(None);
    let run = machine.configure_as_root(&["--interface-name", "up0"]);
    let user = sh("id -u slapuser1").trim().parse::<u32>().unwrap();
    assert_eq!(owner(&machine.path("inst/slappart1")), user, "{run}");
    let addresses = sh("ip address show up0");
    assert!(
        addresses.contains("10.77.") && addresses.contains("fd00:1:2::2/"),
        "{addresses}{run}"
    );
    machine.deploy();
}
