#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

fn us() -> User {
    User::find(
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    )
}

fn shell<'a>(script: &str, directory: &'a Path, user: &'a User) -> Spawn<'a> {
    Spawn::new("/bin/sh", directory, user).args(["-c", script])
}

#[test]
fn output_comes_line_by_line_and_whole() {
    let user = us();
    let mut lines = Vec::new();
    let ended = run(
        shell(
            "echo one; echo two >&2; printf three; exit 3",
            Path::new("/"),
            &user,
        ),
        &Cancel::new(),
        &mut |line| lines.push(line.to_owned()),
    )
    .unwrap();
    assert_eq!(lines, ["one", "two", "three"]);
    assert_eq!(ended.output, "one\ntwo\nthree");
    assert_eq!(ended.describe(), "exit status 3");
}

#[test]
fn n_2_7_the_environment_is_clean_and_the_umask_set() {
    let user = us();
    let mut spawn = shell(
        "umask; echo $HOME $PYTHONNOUSERSITE $SLAPGRID_INSTANCE_ROOT $X; cat",
        Path::new("/"),
        &user,
    );
    spawn.home = Path::new("/some/where");
    spawn.umask = Some(0o027);
    spawn.instance_root = Some(Path::new("/inst"));
    spawn.environment.push(("X".into(), "y".into()));
    spawn.input = Some(b"given".to_vec());
    let ended = run(spawn, &Cancel::new(), &mut |_| {}).unwrap();
    assert_eq!(ended.output, "0027\n/some/where true /inst y\ngiven");
}

/// Whether the process is gone, or only waits to be collected.
fn is_dead(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => true,
        Ok(stat) => stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])),
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn time_out_kills_the_whole_tree_even_what_left_the_group() {
    let user = us();
    let mut spawn = shell(
        "setsid sleep 1000 & echo $!; sleep 1000",
        Path::new("/"),
        &user,
    );
    spawn.timeout = Some(Duration::from_millis(500));
    let mut pids = Vec::new();
    let error = run(spawn, &Cancel::new(), &mut |line| {
        pids.push(line.parse::<u32>().unwrap());
    })
    .unwrap_err();
    assert!(matches!(error, ChildError::Timeout { .. }), "{error}");
    wait_until("the death of the child that left", || is_dead(pids[0]));
}

#[test]
fn cancelling_kills_the_child() {
    let user = us();
    let cancel = Cancel::new();
    let mut pid = 0;
    let error = run(
        shell("echo $$; sleep 1000", Path::new("/"), &user),
        &cancel,
        &mut |line| {
            pid = line.parse().unwrap();
            cancel.cancel();
        },
    )
    .unwrap_err();
    assert!(matches!(error, ChildError::Cancelled { .. }), "{error}");
    assert!(is_dead(pid));
}

#[test]
fn a_daemon_that_keeps_the_pipe_is_not_waited_for() {
    let user = us();
    let ended = run(
        shell("sleep 1000 & echo $!", Path::new("/"), &user),
        &Cancel::new(),
        &mut |_| {},
    )
    .unwrap();
    kill_tree(ended.output.trim().parse().unwrap());
}

#[test]
fn a_missing_program_is_named() {
    let user = us();
    let error = run(
        Spawn::new("/no/such", Path::new("/"), &user),
        &Cancel::new(),
        &mut |_| {},
    )
    .unwrap_err();
    assert!(
        error.to_string().starts_with("cannot start /no/such: "),
        "{error}"
    );
}

#[test]
fn long_output_keeps_its_ends() {
    let mut kept = Kept::default();
    kept.push(b"begin");
    for _ in 0..3000 {
        kept.push(&[b'x'; 1024]);
    }
    kept.push(b"end");
    let text = kept.into_text();
    assert!(text.starts_with("begin") && text.ends_with("end") && text.contains("left out"));
    assert!(text.len() < OUTPUT_BYTES_MAX + 100);
}

#[test]
fn interpreters_are_found_in_scripts() {
    let words = |script: &str| {
        shebang(script.as_bytes()).map(|words| {
            words
                .iter()
                .map(|w| w.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(
        words("#!/a/python -S\nx"),
        Some(vec!["/a/python".into(), "-S".into()])
    );
    assert_eq!(words("no"), None);
    assert_eq!(words("#!\n"), None);
    let python =
        |script: &str| python_of(script.as_bytes()).map(|word| word.into_string().unwrap());
    assert_eq!(python("#!/a/python -S\n"), Some("/a/python".into()));
    assert_eq!(
        python("#!/bin/sh\nexec /long/python \"$0\" \"$@\"\n"),
        Some("/long/python".into())
    );
    assert_eq!(
        python("#!/bin/sh\n'''exec' /long/python \"$0\"\n"),
        Some("/long/python".into())
    );
    assert_eq!(
        python("#!/bin/sh\n\"exec\" \"/long/python\" \"$0\"\n"),
        Some("/long/python".into())
    );
    assert_eq!(python("#!/bin/sh\necho hello\n"), None);
}

/// Needs root; nothing to see without.
#[test]
fn n_2_7_root_becomes_the_user_for_good() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let nobody = User {
        cgroup: None,
        uid: 65_534,
        gid: 65_534,
        name: "nobody".into(),
        home: "/nonexistent".into(),
        groups: vec![60, 65_534],
    };
    let script = "id -u; id -g; id -G; grep -E '^(Uid|Gid)' /proc/self/status; echo $HOME";
    let ended = run(
        shell(script, Path::new("/"), &nobody),
        &Cancel::new(),
        &mut |_| {},
    )
    .unwrap();
    let ids = "65534\t65534\t65534\t65534";
    assert_eq!(
        ended.output,
        format!("65534\n65534\n65534 60\nUid:\t{ids}\nGid:\t{ids}\n/nonexistent\n")
    );
    let strange = User { gid: 0, ..nobody };
    let error = run(
        shell("id", Path::new("/"), &strange),
        &Cancel::new(),
        &mut |_| {},
    )
    .unwrap_err();
    assert!(error.to_string().contains("group of root"), "{error}");
}
