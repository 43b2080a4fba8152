//! A machine of a test's own: namespaces for network, mounts, processes, IPC and control groups, and
//! an `/etc` that is a copy. All of it is gone when the test ends.
#![allow(clippy::print_stderr)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::Rig;

/// Set for the copy of the test that runs inside.
const INSIDE: &str = "SLAPOS_TEST_INSIDE";

/// What is done before the copy starts. The shell stays the first process and reaps what the
/// supervisor leaves behind. It leaves the uppermost control group, which passes its controllers on
/// only while it has no processes of its own.
const PREPARE: &str = "\
set -e
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir /run/etc
cp -a /etc/. /run/etc
mount --bind /run/etc /etc
ip link set lo up
umount -R /sys/fs/cgroup 2>/dev/null || true
if [ -n \"$CGROUP\" ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mkdir /sys/fs/cgroup/tests
    echo 0 >/sys/fs/cgroup/tests/cgroup.procs
fi
\"$@\"
";

/// Enters the control group before there is a namespace for it: that one begins where one is.
const ENTER: &str = "\
set -e
[ -z \"$CGROUP\" ] || echo 0 >\"$CGROUP/cgroup.procs\"
exec unshare \"$@\"
";

/// A control group (cgroup v2) of the test's own, where the machine has some.
struct Cgroup(Option<PathBuf>);

impl Cgroup {
    fn make() -> Self {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let mount = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|words| words.get(2) == Some(&"cgroup2"))
            .map(|words| Path::new(words[1]).join(format!("slapos-test-{}", std::process::id())));
        Cgroup(mount.filter(|path| fs::create_dir(path).is_ok()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fn remove(path: &Path) {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    remove(&entry.path());
                }
            }
            let _ = fs::remove_dir(path);
        }
        if let Some(path) = &self.0 {
            remove(path);
        }
    }
}

/// Whether the caller is inside. Outside, the very same test runs once inside and its failure is
/// this one's; without root it is skipped.
pub(crate) fn in_namespaces(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: {test} needs root, to make namespaces");
        return false;
    }
    let cgroup = Cgroup::make();
    let status = Command::new("sh")
        .args(["-c", ENTER, "sh"])
        .args([
            "--cgroup",
            "--net",
            "--mount",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .args(["--mount-proc", "--propagation", "private"])
        .args(["sh", "-c", PREPARE, "sh"])
        .arg(std::env::current_exe().expect("a test has a file"))
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .env("CGROUP", cgroup.0.as_deref().unwrap_or(Path::new("")))
        .stdin(Stdio::null())
        .status()
        .expect("unshare of util-linux starts");
    assert!(
        status.success(),
        "{test} failed inside its namespaces: {status}"
    );
    false
}

/// Runs a shell script that must succeed; what it printed.
#[track_caller]
pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-e", "-c", script])
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A node that may change everything, with an interface `up0` that has the prefix fd00:1:2::/48.
#[allow(dead_code)] // Not every test that is in namespaces needs one.
pub(crate) fn rig(partitions: u32, more: &[&str]) -> Rig {
    let mut builder = Rig::builder(env!("CARGO_BIN_EXE_slapos")).partitions(partitions);
    for line in [
        "alter_user = True",
        "alter_network = True",
        "create_tap = True",
        "partition_has_ipv6_range = True",
        "input_definition_file =",
        "software_user = swsoft",
        "user_base_name = swuser",
        "tap_base_name = swtap",
        "interface_name = up0",
        "ipv4_local_network = 10.77.0.0/16",
    ] {
        let name = line.split('=').next().unwrap_or(line);
        if !more.iter().any(|line| line.starts_with(name)) {
            builder = builder.option(line);
        }
    }
    for line in more {
        builder = builder.option(line);
    }
    let rig = builder.build();
    sh("ip link add up0 type veth peer name far0
        ip link set up0 up
        ip link set far0 up
        ip address add fd00:1:2::1/48 dev up0 nodad");
    rig
}
