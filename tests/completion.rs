//! Completion as a shell does it: a real bash, the program's own script, the names of a real Master.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use testkit::{Invocation, Rig};

/// What bash would offer for a line whose last word is being typed.
fn offered(rig: &Rig, words: &[&str]) -> Vec<String> {
    let program = rig.program().path.display().to_string();
    let directory = std::path::Path::new(&program)
        .parent()
        .unwrap()
        .display()
        .to_string();
    // What `eval "$(slapos complete)"` and the tab key do.
    let script = "\
PATH=$1:$PATH
shift
eval \"$(slapos complete --shell bash)\"
COMP_WORDS=(\"$@\")
COMP_CWORD=$(($# - 1))
COMP_TYPE=9
_clap_complete_slapos slapos \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"
printf '%s\\n' \"${COMPREPLY[@]}\"";
    let run = Invocation::new("bash", rig.path().join("home"))
        .args(["-c", script, "bash", &directory])
        .args(words)
        .run()
        .ok();
    assert_eq!(run.stderr, "", "{run}");
    let found = run.stdout.lines().filter(|line| !line.is_empty());
    found.map(str::to_owned).collect()
}

#[test]
fn bash_offers_what_there_is() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    rig.start();
    let release = rig.release("tests/software/services");
    for title in ["web", "web-two", "other", "with blank"] {
        rig.request(title, &release, &[]);
    }
    Invocation::new(&rig.program().path, rig.path().join("home"))
        .args(["login", &rig.master_url()])
        .run()
        .ok();

    assert_eq!(offered(&rig, &["slapos", "serv"]), ["service"]);
    assert_eq!(offered(&rig, &["slapos", "service", "inf"]), ["info"]);
    assert_eq!(
        offered(&rig, &["slapos", "service", "list", "--outp"]),
        ["--output"]
    );
    assert_eq!(
        offered(&rig, &["slapos", "service", "list", "--output", ""]),
        ["table", "json", "yaml", "csv", "name"]
    );
    assert_eq!(
        offered(&rig, &["slapos", "service", "info", "w"]),
        ["web", "web-two"]
    );
    assert_eq!(offered(&rig, &["slapos", "request", "o"]), ["other"]);
    assert_eq!(
        offered(&rig, &["slapos", "computer", "info", "l"]),
        ["local_computer"]
    );
    assert_eq!(
        offered(&rig, &["slapos", "context", "use", "d"]),
        ["default"]
    );
    assert_eq!(
        offered(&rig, &["slapos", "service", "list", "--context", ""]),
        ["default"]
    );

    // What was learnt lasts a moment, so that the next key is quick even without a Master.
    rig.stop_master(0);
    assert_eq!(
        offered(&rig, &["slapos", "service", "info", "w"]),
        ["web", "web-two"]
    );
    // What was not is not waited for, and nothing is said about it.
    assert_eq!(
        offered(&rig, &["slapos", "supply", "x", "l"]),
        ["local_computer"]
    );
    let nothing: [&str; 0] = [];
    assert_eq!(
        offered(
            &rig,
            &["slapos", "service", "info", "--cfg", "/nonexistent", "w"]
        ),
        nothing
    );
}

#[test]
fn every_shell_has_its_script() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    for (shell, word) in [
        ("bash", "complete "),
        ("zsh", "#compdef slapos"),
        ("fish", "complete "),
    ] {
        let script = rig.run(&["complete", "--shell", shell]).ok().stdout;
        assert!(
            script.contains(word) && script.contains("slapos"),
            "{script}"
        );
        assert_eq!(rig.run(&["completion", shell]).ok().stdout, script);
    }
    let other = rig.run(&["complete", "--name", "cloud"]).ok().stdout;
    assert!(other.contains("_clap_complete_cloud"), "{other}");
    rig.run(&["complete", "--shell", "tcsh"])
        .exits(2)
        .says("t is one of bash");
}
