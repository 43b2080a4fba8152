//! Isolation: an instance is a stranger to the node and to all other instances. As root, in
//! namespaces of the test's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod namespaces;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use namespaces::{in_namespaces, rig, sh};
use testkit::{Rig, Run};

const SERVICES: &str = "tests/software/services";

/// Outside, where PyPI is: a builder that every user can read, made once.
fn public_builder() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    use_public_builder(&rig);
    rig.start();
    rig.supply(&rig.release(SERVICES));
    rig.node("software", &[]).ok();
}

fn use_public_builder(rig: &Rig) {
    let text = rig.read("slapos.cfg").replace(
        "/test-builder\n",
        "/test-builder-public\nbuilder_python = /usr/bin/python3\n",
    );
    rig.write("slapos.cfg", text);
}

/// Runs a shell command as a partition's user.
fn as_user(rig: &Rig, user: &str, command: &str) -> Run {
    rig.invoke(Path::new("setpriv"))
        .args(["--reuid", user, "--regid", user, "--init-groups"])
        .args(["sh", "-c", command])
        .run()
}

/// Whether the caller is in namespaces of its own, with a builder every user can read.
fn is_inside(test: &str) -> bool {
    if std::env::var_os("SLAPOS_TEST_INSIDE").is_none() && rustix::process::geteuid().is_root() {
        public_builder();
    }
    in_namespaces(test)
}

/// A node of its own with an instance for each of these titles, and their release.
fn deployed(
    partitions: u32,
    options: &[&str],
    titles: &[&str],
    parameters: &[&str],
) -> (Rig, String) {
    let options: Vec<&str> = [&["create_tap = False"], options].concat();
    let rig = rig(partitions, &options);
    use_public_builder(&rig);
    rig.start_master();
    rig.node("format", &[]).ok();
    let release = rig.release(SERVICES);
    rig.supply(&release);
    rig.node("software", &[]).ok();
    for title in titles {
        rig.request(title, &release, parameters);
    }
    rig.node("instance", &[]).ok();
    (rig, release)
}

/// Whoever gets hold of one partition gets no further.
#[test]
fn n_8_an_instance_cannot_leave_its_partition() {
    if !is_inside("n_8_an_instance_cannot_leave_its_partition") {
        return;
    }
    let secret = ["--parameters", "text=TOPSECRET"];
    let (rig, _) = deployed(2, &[], &["victim", "thief"], &secret);
    let key = rig.write("node.key", "the node's key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let places = rig.placements();
    let (victim, thief) = (&places["victim"], &places["thief"]);
    let (victim_user, thief_user) = (
        victim.replace("part", "swuser"),
        thief.replace("part", "swuser"),
    );
    let (victim, thief) = (rig.partition(victim), rig.partition(thief));

    // Everything of a partition is its user's: files, services, and what they were started by.
    let pid = |user: &str, program: &str| {
        let pids = sh(&format!("pgrep -u {user} -f '^[^ ]*{program}' | head -1"));
        pids.trim()
            .parse::<u32>()
            .unwrap_or_else(|_| panic!("{user} runs no {program}: {}", sh("ps aux")))
    };
    let service = pid(&victim_user, "sleep 1000002");
    pid(&thief_user, "sleep 1000002");
    assert_eq!(sh("pgrep -u 0 -f '[s]leep 100000' || true"), "");
    let service_status = fs::read_to_string(format!("/proc/{service}/status")).unwrap();
    let caps = service_status
        .lines()
        .find(|line| line.starts_with("CapEff"))
        .unwrap();
    assert!(caps.ends_with("0000000000000000"), "{caps}");
    // Secrets are in nobody's arguments, and the environment is not the node's.
    sh(&format!(
        "! tr '\\0' '\\n' < /proc/{service}/environ | grep -e TOPSECRET -e CARGO -e SLAPOS_TEST"
    ));
    assert_eq!(
        sh("grep -l TOP[S]ECRET /proc/[0-9]*/cmdline 2>/dev/null | grep -v self || true"),
        ""
    );

    let (v, t) = (victim.display(), thief.display());
    let path = rig.path().display();
    let soft = sh(&format!("dirname {path}/soft/*/buildout.cfg"));
    let soft = soft.trim();
    let supervisor = format!("{path}/inst/sv.sock");
    let python = |code: &str| format!("/usr/bin/python3 -c '{code}'");
    let attempts = [
        ("list another partition", format!("ls {v}")),
        ("read another partition's file", format!("cat {v}/etc/text")),
        ("write into another partition", format!("touch {v}/mine")),
        (
            "read another's environment",
            format!("cat /proc/{service}/environ"),
        ),
        (
            "look through another's root",
            format!("ls /proc/{service}/root/ /proc/{service}/cwd/"),
        ),
        ("read another's memory", format!("cat /proc/{service}/maps")),
        ("kill another's process", format!("kill -9 {service}")),
        (
            "trace another's process",
            python(&format!(
                "import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).ptrace(16,{service},0,0)==0 else 1)"
            )),
        ),
        ("change the release", format!("touch {soft}/mine")),
        (
            "replace the release's profile",
            format!("sh -c \"echo x > {soft}/instance.cfg\""),
        ),
        ("remove the release", format!("rm -r {soft}")),
        ("put a release beside it", format!("mkdir {path}/soft/0123")),
        ("read the node's key", format!("cat {}", key.display())),
        (
            "talk to the supervisor",
            python(&format!(
                "import socket; socket.socket(socket.AF_UNIX).connect(\"{supervisor}\")"
            )),
        ),
        (
            "read the supervisor's configuration",
            format!("cat {path}/inst/etc/supervisord.conf"),
        ),
        (
            "read the state's record",
            format!("cat {path}/computer.xml.made"),
        ),
        (
            "plant a service for root",
            format!("touch {path}/inst/etc/supervisord.conf.d/evil.conf"),
        ),
        ("plant a partition", format!("mkdir {path}/inst/part7")),
        (
            "move its own partition away",
            format!("mv {t} {path}/inst/moved"),
        ),
        ("become root", "setpriv --reuid 0 true".to_owned()),
        (
            "become another user",
            format!("setpriv --reuid {victim_user} true"),
        ),
        ("read the passwords", "cat /etc/shadow".to_owned()),
        (
            "give itself an address",
            "ip address add fd00:1:2::99/48 dev up0".to_owned(),
        ),
        (
            "bind a privileged port",
            python("import socket; socket.socket(socket.AF_INET6).bind((\"fd00:1:2::2\", 80))"),
        ),
    ];
    for (what, command) in attempts {
        let done = as_user(&rig, &thief_user, &command);
        assert_ne!(
            done.code(),
            0,
            "a partition could {what}: {command}\n{done}"
        );
        assert!(
            !done.stderr.contains("not found"),
            "{what} was not tried: {done}"
        );
    }
    assert!(Path::new(&format!("/proc/{service}")).exists());
    // But the release can be read, and so can its own files.
    for command in [
        format!("cat {soft}/instance.cfg"),
        format!("cat {t}/etc/text"),
        // What the attempts above are made with does work.
        "ip address show up0".to_owned(),
        python("import socket; socket.socket(socket.AF_INET6).bind((\"fd00:1:2::2\", 8080))"),
    ] {
        as_user(&rig, &thief_user, &command).ok();
    }

    // Links planted where root writes and reads: nothing outside is changed or shown.
    let precious = rig.write("precious", "untouched");
    fs::set_permissions(&precious, fs::Permissions::from_mode(0o600)).unwrap();
    let plant = format!(
        "cd {t}; rm -rf .timestamp buildout.cfg .slapos-resource .slapgrid etc/service; \
         for name in .timestamp buildout.cfg .slapos-resource .slapgrid-{0}-error.log \
             .slapos-request-transaction-{0} software_release .slapos-retention-lock-delay \
             .{0}_watched.log; do rm -rf $name; ln -s {1} $name; done; \
         ln -s {v} .slapgrid; mkdir -p etc; ln -s {v}/etc/service etc/service",
        thief.file_name().unwrap().display(),
        precious.display()
    );
    as_user(&rig, &thief_user, &plant).ok();
    // The victim's own promises run meanwhile and write their results.
    let victims_files = sh(&format!(
        "find {v} -type f -printf '%p %m %u %s\\n' | grep -v -e log -e {v}/.slapgrid/promise/ | sort"
    ));
    let run = rig.node("instance", &[]);
    assert!(!run.stderr.contains("panicked"), "{run}");
    let _ = rig.node("report", &[]);
    let _ = rig.node("promise", &[]);
    let _ = rig.node("format", &[]);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "untouched");
    assert_eq!(fs::metadata(&precious).unwrap().uid(), 0);
    assert_eq!(
        fs::metadata(&precious).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let after = sh(&format!(
        "find {v} -type f -printf '%p %m %u %s\\n' | grep -v -e log -e {v}/.slapgrid/promise/ | sort"
    ));
    assert_eq!(
        after, victims_files,
        "another partition was changed through a link"
    );
    assert_eq!(sh("pgrep -u 0 -f '[s]leep 100000' || true"), "");
}

/// Whatever an instance starts, and however it hides it, is in its partition's control group: it
/// is counted, and gone with the instance.
#[test]
fn n_8_what_runs_in_a_partition_is_counted_and_ended_as_a_whole() {
    let name = "n_8_what_runs_in_a_partition_is_counted_and_ended_as_a_whole";
    if !is_inside(name) {
        return;
    }
    if !Path::new("/sys/fs/cgroup/cgroup.procs").exists() {
        eprintln!("SKIPPED: {name} needs cgroup v2, which this machine does not let it use");
        return;
    }
    let controllers = sh("cat /sys/fs/cgroup/cgroup.controllers");
    let limits = controllers.split_whitespace().any(|name| name == "pids");
    let options: Vec<&str> = limits
        .then_some("partition_tasks_max = 40")
        .into_iter()
        .collect();
    let (rig, release) = deployed(1, &options, &["counted"], &[]);
    let id = rig.placements()["counted"].clone();
    let user = id.replace("part", "swuser");
    let group = Path::new("/sys/fs/cgroup/slapos").join(&user);
    let inside = || fs::read_to_string(group.join("cgroup.procs")).unwrap();
    let service = sh(&format!(
        "pgrep -u {user} -f '^[^ ]*sleep 1000002' | head -1"
    ));
    assert!(
        inside().lines().any(|pid| pid == service.trim()),
        "{}",
        inside()
    );
    // The supervisor itself is not in it.
    let supervisor = sh("pgrep -u 0 -f 'node supervisord' | head -1");
    assert!(!inside().lines().any(|pid| pid == supervisor.trim()));

    // A promise that leaves something behind, in a session of its own and a child of nobody, in a
    // control group below its own.
    let hidden = rig.partition(&id).join("etc/promise/hides");
    let text = "#!/bin/sh\nsetsid sh -c 'sleep 1000077 & sleep 1000077 &' >/dev/null 2>&1\n";
    fs::write(&hidden, text).unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o755)).unwrap();
    rig.node("promise", &[]).ok();
    let hidden: Vec<String> = sh("pgrep -f '[s]leep 1000077'")
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(hidden.len(), 2, "they are not the node's to end yet");
    for pid in &hidden {
        assert!(
            inside().lines().any(|found| found == pid),
            "{pid}: {}",
            inside()
        );
    }
    fs::create_dir(group.join("below")).unwrap();
    fs::write(group.join("below/cgroup.procs"), &hidden[0]).unwrap();

    // The kernel counts.
    let cfg = rig.path().join("slapos.cfg");
    let run = rig
        .slapos(["node", "usage", "--output", "json", "--cfg"])
        .args([&cfg])
        .run();
    let usage: serde_json::Value = serde_json::from_str(&run.ok().stdout).unwrap();
    assert_eq!(usage[0]["partition"], id, "{usage}");
    assert_eq!(usage[0]["user"], user, "{usage}");
    assert!(usage[0]["cpu_seconds"].as_f64().unwrap() > 0.0, "{usage}");
    assert!(usage[0]["tasks"].as_u64().unwrap() >= 2, "{usage}");

    if limits {
        // A promise that forks more than there may be fails; the others go on.
        assert_eq!(fs::read_to_string(group.join("pids.max")).unwrap(), "40\n");
        let forks = rig.partition(&id).join("etc/promise/forks");
        let text = "#!/bin/sh\nfor n in $(seq 100); do sleep 1000088 & done >/dev/null 2>&1\n";
        fs::write(&forks, text).unwrap();
        fs::set_permissions(&forks, fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(rig.node("promise", &[]).code(), 0);
        let count = sh("pgrep -c -f '[s]leep 1000088' || true");
        assert!(count.trim().parse::<u32>().unwrap() < 40, "{count}");
    } else {
        eprintln!("SKIPPED: limits, which need cgroup v2's controller of tasks");
    }

    rig.request("counted", &release, &["--state", "destroyed"]);
    rig.node("report", &[]).ok();
    assert!(!group.exists(), "{}", inside());
    assert_eq!(sh(&format!("pgrep -u {user} || true")), "");
    assert!(!Path::new("/sys/fs/cgroup/slapos").exists(), "the last one");
}

/// A limit that this machine cannot keep is told, not silently forgotten.
#[test]
fn n_8_a_limit_the_kernel_cannot_keep_is_told() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos"))
        .option("partition_memory_max = 512M")
        .option("cgroups = False")
        .build();
    rig.start();
    let run = rig.node("instance", &[]).ok();
    assert!(
        run.stderr
            .contains("option `partition_memory_max` (cgroup v2 has no memory controller"),
        "{run}"
    );
    rig.write("slapos.cfg", rig.read("slapos.cfg").replace("512M", "much"));
    let run = rig.node("instance", &[]);
    assert_ne!(run.code(), 0, "{run}");
    assert!(run.stderr.contains("partition_memory_max"), "{run}");
}

/// Whatever its user has on the machine goes with an instance. What is mounted in its partition is
/// somebody else's: it is unmounted, and nothing in it is touched.
#[test]
fn n_3_4_nothing_is_left_of_an_instance_and_nothing_of_others_is_touched() {
    let name = "n_3_4_nothing_is_left_of_an_instance_and_nothing_of_others_is_touched";
    if !is_inside(name) {
        return;
    }
    let (rig, release) = deployed(1, &[], &["mounted"], &[]);
    let partition = rig.partition(&rig.placements()["mounted"]);
    let (place, outside) = (partition.display(), rig.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    rig.write("outside/precious", "untouched");
    let outside = outside.display();
    // On the same file system and on others, on files, on each other, and below others.
    sh(&format!(
        "mkdir -p {place}/srv/same {place}/srv/other; touch {place}/srv/file {outside}/inner
         mount --bind {outside} {place}/srv/same
         mount -t tmpfs tmpfs {place}/srv/other
         mkdir {place}/srv/other/deep; touch {place}/srv/other/kept
         mount --bind {outside} {place}/srv/other/deep
         mount -t tmpfs tmpfs {place}/srv/other
         mount --bind {outside}/inner {place}/srv/file"
    ));
    // And what its user left elsewhere on the machine.
    let id = rig.placements()["mounted"].clone();
    let user = id.replace("part", "swuser");
    sh("mkdir -p /run/shared /run/cron; chmod 1777 /run/shared
        mount -t tmpfs -o mode=1777 tmpfs /dev/shm
        mount -t tmpfs -o mode=1777 tmpfs /var/tmp
        mkdir -p /var/spool/cron/crontabs; mount --bind /run/cron /var/spool/cron/crontabs
        echo root >/var/tmp/roots");
    sh(&format!(
        "echo '* * * * * true' >/var/spool/cron/crontabs/{user}
         chown {user} /var/spool/cron/crontabs/{user}
         echo '* * * * * true' >/var/spool/cron/crontabs/root
         setpriv --reuid {user} --regid {user} --clear-groups sh -c '
             mkdir /var/tmp/theirs; touch /var/tmp/theirs/file /dev/shm/theirs
             ipcmk -M 4096 >/dev/null; ipcmk -Q >/dev/null; ipcmk -S 1 >/dev/null
             setsid sleep 1000099 >/dev/null 2>&1 &'"
    ));
    let system_v = || sh("cat /proc/sysvipc/shm /proc/sysvipc/msg /proc/sysvipc/sem | wc -l");
    // What even root may not change; not every file system has such flags.
    let protected = sh(&format!(
        "mkdir -p {place}/srv/kept/inner; touch {place}/srv/kept/inner/log {place}/srv/immutable
         chattr +a {place}/srv/kept/inner/log && chattr +i {place}/srv/kept/inner {place}/srv/immutable {place} \
           && echo protected || echo none"
    ));
    if protected.trim() != "protected" {
        eprintln!("SKIPPED: no flags of files in {place}, or no right to set them");
    }
    assert_eq!(system_v().trim(), "6", "a line of names and one for each");
    rig.request("mounted", &release, &["--state", "destroyed"]);
    let report = rig.node("report", &[]).ok();
    assert!(!report.stderr.contains("cannot remove"), "{report}");
    assert_eq!(sh(&format!("ls {place}")), "");
    assert_eq!(
        sh("ls /var/tmp /dev/shm"),
        "/dev/shm:\n\n/var/tmp:\nroots\n"
    );
    assert_eq!(sh("ls /var/spool/cron/crontabs"), "root\n");
    assert_eq!(system_v().trim(), "3");
    assert_eq!(sh(&format!("pgrep -u {user} || true")), "");
    assert_eq!(rig.read("outside/precious"), "untouched");
    assert_eq!(rig.read("outside/inner"), "");
    assert_eq!(sh(&format!("grep {place} /proc/mounts || true")), "");
}
