//! What an administrator runs on a node besides its daily work: `node boot` (N 6.1), `node prune`
//! (N 6.5), `node collect` (N 6.6).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod namespaces;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use namespaces::{in_namespaces, sh};
use rustix::process::Signal;
use testkit::{Peer, Rig, Running, eventually};

const DEADLINE: Duration = Duration::from_secs(60);

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Shared parts `<letter>…` of which `used` names some, one of them through another.
fn shared_parts(rig: &Rig) {
    let hash = |letter: char| letter.to_string().repeat(32);
    for (letter, uses) in [('a', "b"), ('b', ""), ('c', "d"), ('d', ""), ('e', "")] {
        let part = rig.path().join(format!("shared/lib/{}", hash(letter)));
        let uses: String = uses.chars().map(hash).collect();
        write(
            &part.join(".buildout-shared.json"),
            &format!("{{\"x\": \"/shared/{uses}\"}}"),
        );
        write(&part.join("lib.so"), "library");
    }
    let release = rig.path().join("soft/11112222333344445555666677778888");
    write(
        &release.join(".installed.cfg"),
        &format!("[lib]\nlocation = /srv/shared/lib/{}\n", hash('a')),
    );
    write(
        &release.join("bin/run"),
        &format!("#!/srv/shared/{}/bin/sh\n", hash('e')),
    );
}

/// The parts a run speaks of, by their first letter.
fn named(text: &str) -> String {
    let mut letters: Vec<char> = text
        .lines()
        .filter_map(|line| line.split_once("/shared/lib/"))
        .filter_map(|(_, hash)| hash.chars().next())
        .collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

fn rig() -> Rig {
    let directory = |rig: &Rig| format!("shared_part_list = {}/shared", rig.path().display());
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    let file = rig.read("slapos.cfg");
    let line = directory(&rig);
    rig.write(
        "slapos.cfg",
        file.replacen("[slapos]", &format!("[slapos]\n{line}"), 1),
    );
    shared_parts(&rig);
    rig
}

#[test]
fn n_6_5_prune_says_what_goes_and_then_it_is_gone() {
    let rig = rig();
    let trial = rig.run(&["node", "prune", "--dry-run"]).ok();
    assert_eq!(named(&trial.stdout), "cd", "{trial}");
    let trial = trial.says("2 parts").says("would be removed");
    assert!(!trial.stdout.contains("... removed"), "{trial}");
    assert!(rig.path().join("shared/lib").join("c".repeat(32)).exists());
    let run = rig.run(&["node", "prune"]).ok();
    assert_eq!(named(&run.stdout), "cd", "{run}");
    let run = run.says("... removed");
    assert!(!run.stderr.contains("error"), "{run}");
    let mut left: Vec<_> = fs::read_dir(rig.path().join("shared/lib"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["a", "b", "e"].map(|letter| letter.repeat(32)));
    rig.run(&["node", "prune"])
        .ok()
        .says("no unused shared parts");
}

#[test]
fn n_6_5_prune_refuses_with_upstreams_code() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    rig.run(&["node", "prune"])
        .exits(255)
        .says("`shared_part_list` is not set");
}

#[test]
fn n_6_5_upstreams_prune_finds_the_same() {
    let rig = rig();
    let Some(peer) = Peer::get(&rig) else { return };
    let theirs = peer.node(&rig, &["prune", "--dry-run"]).run().ok();
    let ours = rig.run(&["node", "prune", "--dry-run"]).ok();
    assert_eq!(named(&ours.stdout), named(&theirs.stderr), "{theirs}{ours}");
}

/// A formatted node whose partitions are as the Master wants them, with a Master that is away.
fn restarted() -> Rig {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos"))
        .partitions(2)
        .build();
    rig.start();
    for name in ["part0", "part1"] {
        fs::write(rig.partition(name).join(".timestamp"), "1").unwrap();
    }
    fs::create_dir(rig.path().join("inst/other")).unwrap();
    fs::write(rig.path().join("inst/other/.timestamp"), "1").unwrap();
    rig.stop_master(0);
    rig
}

fn marks(rig: &Rig) -> usize {
    let names = ["part0", "part1", "other"];
    names
        .iter()
        .filter(|name| rig.partition(name).join(".timestamp").exists())
        .count()
}

fn boot(rig: &Rig, arguments: &[&str]) -> Running {
    rig.slapos(["node", "boot"])
        .args(arguments)
        .start(&rig.path().join("log/boot.log"))
}

#[test]
fn n_6_1_boot_waits_for_the_master_and_has_everything_processed() {
    let rig = restarted();
    let mut boot = boot(&rig, &["-m", "whatever"]);
    let said = boot.wait_for_output("cannot reach the Master", DEADLINE);
    assert!(said.contains("trying again in 1 s"), "{said}");
    assert_eq!(marks(&rig), 3, "nothing is forgotten yet");
    rig.start_master();
    assert_eq!(boot.wait(DEADLINE), 0, "{}", boot.output());
    let said = boot.output();
    assert!(said.contains("telling the Master"), "{said}");
    assert_eq!(marks(&rig), 1, "what is no partition keeps its own: {said}");
}

#[test]
fn n_6_1_boot_gives_up_and_ends_when_asked() {
    let rig = restarted();
    let run = rig.run(&["node", "boot", "--timeout", "1"]).exits(1);
    let run = run.says("gave up after 1 s");
    assert_eq!(marks(&rig), 1, "{run}");

    let mut boot = boot(&rig, &[]);
    boot.wait_for_output("cannot reach the Master", DEADLINE);
    boot.signal(Signal::INT);
    assert_eq!(boot.wait(DEADLINE), 130, "{}", boot.output());
}

#[test]
fn n_6_1_boot_waits_for_ipv6() {
    if !in_namespaces("n_6_1_boot_waits_for_ipv6") {
        return;
    }
    let rig = namespaces::rig(1, &[]);
    rig.start_master();
    sh("ip address del fd00:1:2::1/48 dev up0");
    let mut boot = boot(&rig, &[]);
    boot.wait_for_output("no global IPv6 address on up0 yet", DEADLINE);
    sh("ip address add fd00:1:2::1/48 dev up0 nodad");
    assert_eq!(boot.wait(DEADLINE), 0, "{}", boot.output());
    assert!(sh("ip address show up0").contains("fd00:1:2::2"));
}

/// A node whose only partition belongs to a user with a process; it is killed with what is given.
fn busy_partition(rig: &Rig) -> (String, Running) {
    let path = rig.path().display();
    // Any user of the machine whose processes are known: upstream's needs a name and an index.
    let user = "slapcollect0";
    sh(&format!(
        "useradd --system --no-create-home --home-dir {path} --shell /bin/sh {user}
         mkdir -p {path}/inst/part0/.slapgrid {path}/inst/var/run
         dd if=/dev/zero of={path}/inst/part0/data bs=1M count=3 status=none
         ln {path}/inst/part0/data {path}/inst/part0/again
         ln -s / {path}/inst/part0/everything
         chown -Rh {user} {path}/inst/part0"
    ));
    let text = rig
        .read("slapos.cfg")
        .replace("user_base_name = user", "user_base_name = slapcollect")
        .replace("partition_amount = 3", "partition_amount = 1");
    rig.write("slapos.cfg", text);
    let busy = rig
        .invoke(Path::new("/usr/bin/setpriv"))
        .args(["--reuid", user, "--clear-groups", "--", "sh", "-c"])
        .arg("while :; do :; done")
        .start(&rig.path().join("log/busy.log"));
    let uid: u32 = sh(&format!("id -u {user}")).trim().parse().unwrap();
    let process = format!("/proc/{}", busy.pid());
    eventually("it works as that user", DEADLINE, || {
        let is_theirs = fs::metadata(&process).is_ok_and(|found| found.uid() == uid);
        if is_theirs {
            Ok(())
        } else {
            Err(busy.output())
        }
    });
    (user.to_owned(), busy)
}

/// What a table holds, read as promises do.
fn table(rig: &Rig, sql: &str) -> Vec<Vec<String>> {
    let file = rig.path().join("inst/var/data-log/collector.db");
    let connection = rusqlite::Connection::open(file).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let value = |index| match row.get_ref(index)? {
            rusqlite::types::ValueRef::Text(text) => Ok(String::from_utf8_lossy(text).into_owned()),
            other => Ok(format!("{other:?}")),
        };
        (0..columns).map(value).collect()
    });
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn n_6_6_collect_measures_partitions_and_machine() {
    if !in_namespaces("n_6_6_collect_measures_partitions_and_machine") {
        return;
    }
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos"))
        .partitions(1)
        .build();
    let (user, _busy) = busy_partition(&rig);
    rig.run(&["node", "collect", "--interval", "1"]).ok();
    let rows = table(
        &rig,
        "select partition, cpu_percent > 0, memory_rss > 0, cpu_num_threads from user",
    );
    assert_eq!(
        rows,
        [[user.as_str(), "Integer(1)", "Integer(1)", "Real(1.0)"]]
    );
    // The file with two names counts once, and no link is followed.
    let folder = table(
        &rig,
        "select disk_used > 3000 and disk_used < 4000 from folder",
    );
    assert_eq!(folder, [["Integer(1)"]]);
    let var = rig.path().join("inst/var");
    let metrics = fs::read_to_string(var.join("data-log/metrics.prom")).unwrap();
    assert!(
        metrics.contains("slapos_partition_processes{partition=\"part0\"} 1\n"),
        "{metrics}"
    );
    let reports = fs::read_dir(var.join("xml_report/COMP-1").as_path())
        .or_else(|_| fs::read_dir(var.join(format!("xml_report/{}", rig.node_id()))));
    assert_eq!(reports.unwrap().count(), 2, "two days are told");
    // Again: the reports are told once, sizes once a day.
    rig.run(&["node", "collect", "--interval", "1"]).ok();
    assert_eq!(table(&rig, "select count(*) from user"), [["Integer(2)"]]);
    assert_eq!(table(&rig, "select count(*) from folder"), [["Integer(1)"]]);
    // The journals are such as the Master takes.
    rig.start_master();
    rig.node("report", &[]).ok();
    let monitor = rig.partition("part0").join(".slapgrid/monitor");
    let text = fs::read_to_string(monitor.join("monitor_resource_process.data.json")).unwrap();
    assert!(
        text.starts_with("{\"date\": ") && text.ends_with("]}"),
        "{text}"
    );
}

#[test]
fn n_6_6_upstreams_collector_and_ours_share_a_database() {
    if std::env::var_os("SLAPOS_TEST_INSIDE").is_none() {
        // Outside, where PyPI is.
        let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
        if Peer::get(&rig).is_none() {
            return;
        }
    }
    if !in_namespaces("n_6_6_upstreams_collector_and_ours_share_a_database") {
        return;
    }
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos"))
        .partitions(1)
        .build();
    let (user, _busy) = busy_partition(&rig);
    let peer = Peer::get(&rig).unwrap();
    // Theirs stops without the program `sensors`.
    let bin = rig.path().join("bin");
    write(&bin.join("sensors"), "#!/bin/sh\n");
    sh(&format!("chmod +x {}/sensors", bin.display()));
    let theirs = || {
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        peer.node(&rig, &["collect"]).env("PATH", path).run().ok()
    };
    let ours = || rig.run(&["node", "collect", "--interval", "2"]).ok();
    for first_is_ours in [false, true] {
        for left in ["var/data-log", "part0/.slapgrid/monitor"] {
            let _ = fs::remove_dir_all(rig.path().join("inst").join(left));
        }
        if first_is_ours {
            ours();
            theirs();
        } else {
            theirs();
            ours();
        }
        let schema = table(
            &rig,
            "select lower(replace(replace(sql, ' ', ''), char(10), '')) from sqlite_master order by name",
        );
        static SCHEMA: std::sync::OnceLock<Vec<Vec<String>>> = std::sync::OnceLock::new();
        assert_eq!(*SCHEMA.get_or_init(|| schema.clone()), schema);
        // The two rows of each table differ in what time changes only.
        for (name, columns) in [
            (
                "user",
                "partition, pid, process, cpu_num_threads, typeof(cpu_percent), typeof(memory_rss), cpu_percent > 0",
            ),
            (
                "computer",
                "cpu_num_core, cpu_frequency, cpu_type, memory_size, memory_type, partition_list",
            ),
            (
                "system",
                "typeof(loadavg), typeof(memory_used), typeof(net_in_bytes), net_in_errors, net_out_dropped",
            ),
        ] {
            let rows = table(&rig, &format!("select {columns} from {name}"));
            assert_eq!(rows.len(), 2, "{name}: {rows:?}");
            assert_eq!(rows[0], rows[1], "{name}");
        }
        let disks = table(
            &rig,
            "select partition, mountpoint, typeof(used), typeof(free) from disk order by rowid",
        );
        let (first, second) = disks.split_at(disks.len() / 2);
        assert_eq!(first, second);
        assert_eq!(
            table(&rig, "select distinct partition from user"),
            [[user.as_str()]]
        );
        // Sizes are told once a day, by whoever comes first, and are the same.
        let folder = table(&rig, "select partition, disk_used from folder");
        assert_eq!(folder.len(), 1);
        static FOLDER: std::sync::OnceLock<Vec<Vec<String>>> = std::sync::OnceLock::new();
        assert_eq!(*FOLDER.get_or_init(|| folder.clone()), folder);
    }
}
