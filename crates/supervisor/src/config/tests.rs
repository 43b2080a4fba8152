#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::fs;

use proptest::prelude::*;

use super::*;

fn owner() -> PartitionOwner {
    PartitionOwner {
        directory: "/srv/slapgrid/slappart0".into(),
        uid: 1000,
        gid: 1001,
        user: "slapuser0".into(),
        home: "/srv/slapgrid/slappart0".into(),
        cgroup: None,
    }
}

fn load(main: &str, included: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("supervisord.conf");
    fs::create_dir(directory.path().join("supervisord.conf.d")).unwrap();
    for (name, text) in included {
        fs::write(directory.path().join("supervisord.conf.d").join(name), text).unwrap();
    }
    fs::write(&path, main).unwrap();
    Config::load(&path)
}

const MAIN: &str = "[supervisord]\n[unix_http_server]\nfile=/run/sv.sock\n[include]\nfiles = supervisord.conf.d/*.conf\n";

#[test]
fn a_partition_is_written_as_upstream_writes_it() {
    let program = |file: &str, process: &str| {
        let path = format!("/srv/slapgrid/slappart0/etc/service/{file}");
        ProgramConfig::for_partition("slappart0", file, process, Path::new(&path), &owner())
    };
    let group = GroupConfig::new(
        "slappart0",
        vec![program("a", "a"), program("web", "web-on-watch")],
    );
    let expected = "\
[group:slappart0]
programs=slappart0_a,slappart0_web

[program:slappart0_a]
directory=/srv/slapgrid/slappart0
command=/srv/slapgrid/slappart0/etc/service/a
process_name=a
autostart=false
autorestart=false
startsecs=0
startretries=0
exitcodes=0
stopsignal=TERM
stopwaitsecs=60
stopasgroup=true
killasgroup=true
user=1000
group=1001
serverurl=AUTO
redirect_stderr=true
stdout_logfile=/srv/slapgrid/slappart0/.slappart0_a.log
stdout_logfile_maxbytes=100KB
stdout_logfile_backups=1
stderr_logfile=/srv/slapgrid/slappart0/.slappart0_a.log
stderr_logfile_maxbytes=100KB
stderr_logfile_backups=1
environment=USER=\"slapuser0\",LOGNAME=\"slapuser0\",HOME=\"/srv/slapgrid/slappart0\"

[program:slappart0_web]
";
    let text = group.render();
    assert!(text.starts_with(expected), "{text}");
    let config = load(MAIN, &[("slappart0.conf", &text)]).unwrap();
    assert_eq!(config.groups, [group]);
}

#[test]
fn the_main_file_is_read_back() {
    let wanted = DaemonConfig::for_instance_root(Path::new("/srv/i"), Path::new("/srv/i/sv.sock"));
    let text = wanted.render(
        "/srv/i/etc/supervisord.conf.d/*.conf",
        "/bin/watchdog --x 'y'",
    );
    assert!(text.contains("\nlogfile-backups = 10\n") && text.contains("\nchmod=0700\n"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c");
    fs::write(&path, text).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.daemon, wanted);
    assert_eq!(config.groups, []);
}

#[test]
fn defaults_and_expansions_are_upstreams() {
    let text = "
; comment
[program:x]
command = /bin/%(program_name)s --in %(here)s 100%% ; inline comment
   --more
environment=A=\"b,c\",D='e',F=%(group_name)s
stopsignal=SIGINT
autorestart=true
umask=027
[program:many]
command=/bin/true
process_name=%(program_name)s_%(process_num)02d
numprocs=2
priority=1
[eventlistener:watchdog]
command=
[unknown:section]
what=ever
";
    let config = load(MAIN, &[("x.conf", text)]).unwrap();
    let names: Vec<&str> = config.groups.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["many", "x"]);
    let many: Vec<&str> = config.groups[0]
        .programs
        .iter()
        .map(|p| p.name.as_str())
        .collect();
    assert_eq!(many, ["many_00", "many_01"]);
    let x = &config.groups[1].programs[0];
    assert!(
        x.command.starts_with("/bin/x --in /") && x.command.ends_with(" 100%\n--more"),
        "{}",
        x.command
    );
    let environment: Vec<(&str, &str)> = x
        .environment
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(environment, [("A", "b,c"), ("D", "e"), ("F", "x")]);
    assert_eq!(
        (x.stopsignal, x.autorestart, x.umask),
        (2, AutoRestart::Always, Some(0o27))
    );
    assert_eq!(
        (x.startsecs, x.startretries, x.stopwaitsecs, x.priority),
        (1, 3, 10, 999)
    );
    assert_eq!(x.stdout.target, LogTarget::Auto);
}

#[test]
fn bad_files_are_refused_with_their_place() {
    let table = [
        ("key=1\n", "before the first [section]"),
        ("[program:x\n", "does not end with ']'"),
        ("[program:x]\nnonsense\n", "line 2"),
        ("[program:x]\n", "does not specify a command"),
        ("[program:x]\ncommand='a\n", "No closing quotation"),
        (
            "[program:x]\ncommand=a\nautostart=maybe\n",
            "not a valid boolean",
        ),
        (
            "[program:x]\ncommand=a\nstopsignal=NOPE\n",
            "not a valid signal name",
        ),
        ("[program:x]\ncommand=a\nexitcodes=0,300\n", "exit codes"),
        (
            "[program:x]\ncommand=a\nstdout_logfile_maxbytes=1TB\n",
            "is not a size",
        ),
        ("[program:x]\ncommand=a\nenvironment=A\n", "key/value"),
        ("[program:x]\ncommand=%(nope)s\n", "cannot be expanded"),
        ("[program:x]\ncommand=%(here)é\n", "badly formatted"),
        (
            "[program:x]\ncommand=a\nstopasgroup=true\nkillasgroup=false\n",
            "killasgroup",
        ),
        (
            "[program:x]\ncommand=a\nprocess_name=a:b\n",
            "because of character: ':'",
        ),
        ("[program:x]\ncommand=a\nnumprocs=2\n", "process_num"),
        ("[program:x]\ncommand=a\ngroup=staff\n", "numeric group id"),
        ("[group:g]\nprograms=nope\n", "unknown program"),
        (
            "[program:x]\ncommand=a\n[group:x]\nprograms=\n",
            "two groups",
        ),
    ];
    for (text, reason) in table {
        let error = load(MAIN, &[("bad.conf", text)]).unwrap_err().to_string();
        assert!(error.contains(reason), "{text:?}: {error}");
        assert!(
            error.contains("bad.conf") || reason == "two groups",
            "{text:?}: {error}"
        );
    }
    assert!(
        load("[supervisord]\n", &[])
            .unwrap_err()
            .to_string()
            .contains("unix_http_server")
    );
    assert!(
        load("[unix_http_server]\nfile=a\n", &[])
            .unwrap_err()
            .to_string()
            .contains("'supervisord'")
    );
}

#[test]
fn command_lines_are_split_as_a_shell_would() {
    let table: [(&str, &[&str]); 6] = [
        ("/bin/a b  c", &["/bin/a", "b", "c"]),
        (
            r#"a 'b c' "d \" \x" e\ f"#,
            &["a", "b c", r#"d " \x"#, "e f"],
        ),
        ("a '' \"\"", &["a", "", ""]),
        ("a'b'\"c\"", &["abc"]),
        ("", &[]),
        ("a #b ;c", &["a", "#b", ";c"]),
    ];
    for (line, words) in table {
        assert_eq!(split_command(line).unwrap(), words, "{line}");
    }
    for line in ["'", "a \"b", "a\\"] {
        assert!(split_command(line).is_err(), "{line}");
    }
}

#[test]
fn globs_match() {
    let table = [
        ("*.conf", "a.conf", true),
        ("*.conf", "a.conf~", false),
        ("a?c*", "abcde", true),
        ("*a*b", "xaxxb", true),
        ("*a*b", "xxb", false),
        ("", "", true),
    ];
    for (pattern, name, matches) in table {
        assert_eq!(
            ini::matches_glob(pattern.as_bytes(), name.as_bytes()),
            matches,
            "{pattern} {name}"
        );
    }
}

proptest! {
    #[test]
    fn quoting_is_undone_by_splitting(words in prop::collection::vec("[ -~é]{0,12}", 1..6)) {
        let line = words.iter().map(|w| quote(w)).collect::<Vec<_>>().join(" ");
        prop_assert_eq!(split_command(&line).unwrap(), words);
    }

    #[test]
    fn what_is_written_is_read_back(
        names in prop::collection::btree_set("[a-zA-Z0-9_.-]{1,12}", 1..5),
        directory in "/[a-z%]{1,10}", retries in 0u32..9, max in 0u64..1_000_000, signal in 1i32..32,
        restart in prop_oneof![Just(AutoRestart::Never), Just(AutoRestart::Always), Just(AutoRestart::Unexpected)],
        value in "[a-zA-Z0-9 ,=%/'.:_-]{0,20}", priority in -5i32..2000,
    ) {
        let programs: Vec<ProgramConfig> = names.iter().map(|name| {
            let mut owner = owner();
            owner.directory = directory.clone().into();
            ProgramConfig {
                startretries: retries, autorestart: restart, stopsignal: signal,
                stdout: LogConfig::file(format!("{directory}/log"), max, retries),
                environment: vec![("KEY".into(), value.trim().to_owned()), ("USER".into(), "x".into())],
                ..ProgramConfig::for_partition("g", name, name, Path::new(&directory), &owner)
            }
        }).collect();
        let group = GroupConfig { priority, ..GroupConfig::new("g", programs) };
        let config = load(MAIN, &[("g.conf", &group.render())]).unwrap();
        prop_assert_eq!(config.groups, [group]);
    }

    #[test]
    fn no_text_panics(text in "(\\[program:x\\]\ncommand=)?[\\PC\n]{0,200}") {
        let _ = load(MAIN, &[("x.conf", &text)]);
    }
}
