//! `slapos console`: the user's own Python with the Master in it, as a script's author and a person
//! at a terminal meet it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use testkit::{Invocation, Rig, Run, Terminal};

const SOON: Duration = Duration::from_secs(60);

const WEBRUNNER: &str = "https://example.com/webrunner/software.cfg";
const MYSQL: &str = "https://example.com/mysql/software.cfg";
const KVM: &str = "https://example.com/kvm/software.cfg";

/// A Master with products and free partitions, and a client's configuration with aliases.
fn rig() -> Rig {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos"))
        .proxy_option(&format!(
            "software_product_list =\n  kvm {KVM}\n  mysql-5.1 {MYSQL}"
        ))
        .build();
    rig.program().python_module();
    let url = rig.master_url();
    rig.write(
        "client.cfg",
        format!(
            "[slapos]\nmaster_url = {url}\n[slapconsole]\nalias =\n  webrunner {WEBRUNNER}\n  \
             my-sql https://example.com/my.cfg\n"
        ),
    );
    rig
}

fn started() -> Rig {
    let rig = rig();
    rig.start();
    rig
}

fn console(rig: &Rig, arguments: &[&str]) -> Invocation {
    rig.slapos(["console"]).args(arguments)
}

/// Runs these lines as a script.
fn script(rig: &Rig, lines: &str) -> Run {
    rig.write("script.py", lines);
    console(rig, &["script.py"]).directory(rig.path()).run()
}

/// Pipes these lines into the console.
fn piped(rig: &Rig, lines: &str) -> Run {
    let file = rig.write("input", lines);
    rig.invoke(Path::new("/bin/sh"))
        .args(["-c", "exec \"$1\" console < \"$2\"", "sh"])
        .arg(&rig.program().path)
        .arg(file)
        .run()
}

/// A person at a plain console, who has seen the first prompt.
fn person(rig: &Rig) -> Terminal {
    let mut terminal = console(rig, &["-p"]).at_terminal();
    let banner = terminal.wait_for(">>> ", SOON);
    assert!(banner.contains(&rig.master_url()), "{banner}");
    terminal
}

/// Types a line; what came between its echo and the next prompt.
fn answer(terminal: &mut Terminal, line: &str) -> String {
    terminal.type_line(line);
    terminal.wait_for(line, SOON);
    terminal
        .wait_for(">>> ", SOON)
        .trim_matches('\n')
        .to_owned()
}

#[test]
fn a_script_has_the_names_of_the_console_and_arguments_of_its_own() {
    let rig = started();
    rig.write("sibling.py", "word = 'found'");
    rig.write(
        "script.py",
        "import sys, sibling\n\
         if __name__ == '__main__':\n    print(sys.argv, __file__, sibling.word)\n\
         def later():\n    return webrunner, my_sql, software_list['my-sql']\n\
         print(later())\n\
         print(product.kvm, product['mysql-5.1'], mysql_5_1, product.webrunner)\n\
         print(config.master_url, config.key_file, callable(remove), slapos.slap.slap())\n\
         sys.exit(7)\n",
    );
    let run = console(&rig, &["script.py", "--cfg", "x", "-v", "--", "--version"])
        .directory(rig.path())
        .run()
        .exits(7);
    let expected = format!(
        "['script.py', '--cfg', 'x', '-v', '--', '--version'] script.py found\n\
         ('{WEBRUNNER}', 'https://example.com/my.cfg', 'https://example.com/my.cfg')\n\
         {KVM} {MYSQL} {MYSQL} {WEBRUNNER}\n\
         {} None True <slap not connected>\n",
        rig.master_url()
    );
    assert_eq!((run.stdout, run.stderr), (expected, String::new()));
}

#[test]
fn a_line_of_python_is_a_script_too() {
    let rig = started();
    let line = "import sys; print(product.kvm, sys.argv); sys.exit(3)";
    let run = console(&rig, &["--command", line, "more", "--cfg"])
        .run()
        .exits(3);
    let expected = format!("{KVM} ['-c', 'more', '--cfg']\n");
    assert_eq!((run.stdout, run.stderr), (expected, String::new()));
    let wrong = console(&rig, &["--command", "nothing_of_that_name"])
        .run()
        .exits(1);
    assert!(wrong.stderr.contains("NameError"), "{wrong}");
}

#[test]
fn a_script_that_fails_shows_its_own_lines_only() {
    let rig = started();
    let run = script(
        &rig,
        "def ask():\n    return request(product.kvm, 'a').getConnectionParameter('url')\nask()\n",
    )
    .exits(1);
    let shown: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| !line.trim_start().starts_with(['^', '~']))
        .collect();
    assert_eq!(
        shown,
        [
            "Traceback (most recent call last):",
            "  File \"script.py\", line 3, in <module>",
            "    ask()",
            "  File \"script.py\", line 2, in ask",
            "    return request(product.kvm, 'a').getConnectionParameter('url')",
            "NotFoundError: url not found: nothing is published yet",
        ]
    );
    let missing = console(&rig, &["nowhere.py"]).run().exits(1);
    assert_eq!(
        missing.stderr,
        "error: cannot read the script nowhere.py: No such file or directory\n"
    );
    script(&rig, "this is no Python")
        .exits(1)
        .says("SyntaxError");
    let quiet = rig
        .invoke(Path::new("/bin/sh"))
        .args(["-c", "\"$1\" console script.py | head -n 1", "sh"])
        .arg(&rig.program().path)
        .directory(rig.path());
    rig.write("script.py", "for i in range(100000): print(i)\n");
    assert_eq!(quiet.run().ok().stderr, "", "a closed pipe is no error");
}

#[test]
fn ctrl_c_ends_a_script_without_a_word() {
    let rig = rig();
    rig.write(
        "script.py",
        "import time\nprint('asleep', flush=True)\ntime.sleep(600)\n",
    );
    let log = rig.path().join("log/script.log");
    let mut running = console(&rig, &["script.py"])
        .directory(rig.path())
        .hearing_ctrl_c()
        .start(&log);
    running.wait_for_output("asleep", SOON);
    running.signal(Signal::INT);
    // As a program that the signal has ended: a shell's loop around it ends too.
    assert_eq!(running.wait(SOON), 128 + 2);
    assert_eq!(running.output(), "asleep\n");
}

#[test]
fn what_is_piped_in_is_answered() {
    let rig = started();
    let run = piped(
        &rig,
        "webrunner\n_ == my_sql\nif True:\n  1 + 1\n\nnowhere\n\
         request(kvm, 'a')\nrequest(kvm, 'a').getState()\n",
    )
    .ok();
    assert_eq!(
        run.stdout,
        format!(
            "'{WEBRUNNER}'\nFalse\n2\n\
             <ComputerPartition 'a' started on part0 of local_computer>\n'started'\n"
        )
    );
    assert_eq!(
        run.stderr.lines().last(),
        Some("NameError: name 'nowhere' is not defined")
    );
}

#[test]
fn a_person_types() {
    let rig = started();
    let mut terminal = person(&rig);
    assert_eq!(answer(&mut terminal, "webrunner"), format!("'{WEBRUNNER}'"));
    let listed = answer(&mut terminal, "software_list");
    assert!(
        listed.starts_with('{') && listed.contains(&format!("'mysql-5.1': '{MYSQL}'")),
        "{listed}"
    );
    assert_eq!(
        answer(
            &mut terminal,
            "request(product.kvm, \"a\").getConnectionParameter(\"url\")"
        ),
        "Traceback (most recent call last):\n  File \"<console>\", line 1, in <module>\n\
         NotFoundError: url not found: nothing is published yet"
    );
    // Products are completed, and none of them is asked for.
    terminal.press("product.mys\t");
    terminal.wait_for("product.mysql_5_1", SOON);
    terminal.press("\r");
    terminal.wait_for(MYSQL, SOON);
    terminal.press("webr\t\r");
    terminal.wait_for(WEBRUNNER, SOON);
    terminal.wait_for(">>> ", SOON);
    // Ctrl-C ends what is being typed, and what is being done.
    terminal.press("half a l\x03");
    terminal.wait_for("KeyboardInterrupt", SOON);
    terminal.wait_for(">>> ", SOON);
    terminal.type_line("import time; print('asleep'); time.sleep(600)");
    terminal.wait_for("\nasleep", SOON);
    terminal.press("\x03");
    terminal.wait_for("KeyboardInterrupt", SOON);
    terminal.wait_for(">>> ", SOON);
    terminal.press("\x04");
    assert_eq!(terminal.wait_end(SOON).0, 0);

    let history = rig.path().join("home/.slapconsolehistory");
    let mode = fs::metadata(&history).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        fs::read_to_string(&history)
            .unwrap()
            .contains("software_list\n")
    );
    let mut terminal = person(&rig);
    terminal.press("\x12software_l"); // searches backwards
    terminal.wait_for("software_list", SOON);
    terminal.press("\r");
    terminal.wait_for("my-sql", SOON);
    terminal.wait_for(">>> ", SOON);
    terminal.type_line("import sys; sys.exit(3)");
    assert_eq!(terminal.wait_end(SOON).0, 3);
}

#[test]
fn ctrl_c_ends_a_call_that_the_master_does_not_answer() {
    let rig = rig();
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", deaf.local_addr().unwrap());
    let mut terminal = console(&rig, &["-p", "-u", &url]).at_terminal();
    terminal.wait_for(">>> ", SOON);
    terminal.type_line("print('asking'); supply(webrunner, 'COMP-1')");
    terminal.wait_for("\nasking", SOON);
    deaf.accept().unwrap();
    terminal.press("\x03");
    terminal.wait_for("KeyboardInterrupt", SOON);
    terminal.wait_for(">>> ", SOON);
    terminal.press("\x04");
    assert_eq!(terminal.wait_end(SOON).0, 0);
}

#[test]
fn a_master_that_is_away_holds_up_nothing_that_does_not_need_it() {
    let rig = rig();
    let run = piped(
        &rig,
        "webrunner\nsoftware_list\nkvm\nrequest(webrunner, 'a')\n",
    )
    .ok();
    assert!(
        run.stdout.starts_with(&format!("'{WEBRUNNER}'\n{{")),
        "{run}"
    );
    let last: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.contains("Error: "))
        .collect();
    let url = rig.master_url();
    let reason = format!(
        "cannot reach the Master at {url}: the connection is refused; is the Master running?"
    );
    assert_eq!(
        last,
        [
            format!(
                "NameError: name 'kvm' is not defined, and the Master cannot be asked for a \
                 product of this name: {reason}"
            ),
            format!("ConnectionError: {reason}"),
        ]
    );
}

#[test]
fn what_is_missing_is_said_in_one_line() {
    let rig = rig();
    let no_python = console(&rig, &[])
        .env("SLAPOS_PYTHON", "/nowhere/python3")
        .run();
    assert_eq!(
        no_python.exits(1).stderr,
        "error: there is no `/nowhere/python3` here, which the console runs in\n\
         hint: install Python 3.9 or newer, or name one in the variable SLAPOS_PYTHON\n"
    );
    let no_file = console(&rig, &["--cfg", "nowhere.cfg"]).run().exits(1);
    assert!(
        no_file.stderr.contains("does not exist: nowhere.cfg"),
        "{no_file}"
    );
    console(&rig, &["-i", "-p"]).run().exits(2);
    // A shell that is not there is replaced, and said so.
    let venv = rig.path().join("venv");
    let python = rig
        .invoke(Path::new("python3"))
        .args(["-m", "venv", "--without-pip"])
        .arg(&venv);
    python.run().ok();
    let run = console(&rig, &["-b"]).env("VIRTUAL_ENV", &venv).run().ok();
    assert_eq!(
        run.stderr,
        "INFO bpython not available - using plain Python shell\n"
    );
    rig.write("who.py", "import sys\nprint(sys.prefix)\n");
    let who = console(&rig, &["who.py"])
        .env("VIRTUAL_ENV", &venv)
        .directory(rig.path());
    assert_eq!(who.run().ok().stdout.trim(), venv.to_string_lossy());
    // A program built without the module says what to do.
    let alone = rig.path().join("slapos");
    fs::copy(&rig.program().path, &alone).unwrap();
    let run = rig.invoke(&alone).arg("console").run().exits(1);
    assert!(run.stderr.contains("pip install slapos-sdk"), "{run}");
}

#[test]
fn nobody_else_can_plant_a_module() {
    let rig = rig();
    let home = rig.path().join("home");
    rig.write("where.py", "print(slapos.slap.__file__)\n");
    let place = |cache: &Path| -> String {
        let run = console(&rig, &["where.py"])
            .env("XDG_CACHE_HOME", cache)
            .env("TMPDIR", rig.path().join("run"))
            .directory(rig.path())
            .run()
            .ok();
        run.stdout
    };
    let cache = home.join("cache");
    let first = place(&cache);
    assert!(
        first.starts_with(cache.join("slapos/python-").to_str().unwrap()),
        "{first}"
    );
    assert_eq!(place(&cache), first, "unpacked once");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&cache.join("slapos")), 0o700);
    // Not where others write, nor through a link of somebody.
    fs::set_permissions(cache.join("slapos"), fs::Permissions::from_mode(0o777)).unwrap();
    let elsewhere = place(&cache);
    let private = rig.path().join("run");
    assert!(
        elsewhere.starts_with(private.to_str().unwrap()),
        "{elsewhere}"
    );
    assert_eq!(
        fs::read_dir(&private).unwrap().count(),
        0,
        "and gone afterwards"
    );
    fs::set_permissions(cache.join("slapos"), fs::Permissions::from_mode(0o700)).unwrap();
    let unpacked = Path::new(first.trim()).ancestors().nth(3).unwrap();
    fs::rename(unpacked, home.join("moved")).unwrap();
    symlink(home.join("moved"), unpacked).unwrap();
    assert!(place(&cache).starts_with(private.to_str().unwrap()));
    // The current directory holds no part of it either.
    for name in ["slapos.py", "code.py", "json.py"] {
        rig.write(name, "print('planted')");
    }
    fs::remove_file(unpacked).unwrap();
    assert!(!place(&cache).contains("planted"));
    assert!(!piped(&rig, "1\n").stdout.contains("planted"));
}

/// IPython, from PyPI, installed once. `None` when the tests shall do without the network.
fn ipython(rig: &Rig) -> Option<std::path::PathBuf> {
    if std::env::var("SLAPOS_TEST_OFFLINE").as_deref() == Ok("1") {
        return None;
    }
    let venv = rig.program().target_directory().join("ipython");
    if !venv.join("bin/ipython").exists() {
        let python = rig.invoke(Path::new("python3"));
        python.args(["-m", "venv"]).arg(&venv).run().ok();
        rig.invoke(&venv.join("bin/pip"))
            .args(["install", "-q", "--disable-pip-version-check"])
            .arg("ipython==8.18.1")
            .run()
            .ok();
    }
    Some(venv)
}

#[test]
fn ipython_is_used_where_it_is_installed() {
    let rig = started();
    let Some(venv) = ipython(&rig) else { return };
    let mut terminal = console(&rig, &[]).env("VIRTUAL_ENV", venv).at_terminal();
    let banner = terminal.wait_for("In [1]:", SOON);
    assert!(banner.contains("SlapOS console") && banner.contains("IPython 8.18.1"));
    // It asks where the cursor is, and goes on when nobody answers.
    let mut answer = |number: u32, line: &str, shown: &str| {
        terminal.type_line(line);
        terminal.wait_for(shown, SOON);
        terminal.wait_for(&format!("In [{number}]:"), SOON);
    };
    answer(2, "kvm", KVM);
    answer(
        3,
        "request(kvm, 'a')",
        "<ComputerPartition 'a' started on part0",
    );
    answer(
        4,
        "request(kvm, 'a').getConnectionParameter('url')",
        "NotFoundError: url not found: nothing is published yet",
    );
    terminal.press("\x04");
    terminal.wait_for("exit", SOON);
    terminal.type_line("y");
    assert_eq!(terminal.wait_end(SOON).0, 0);
}

#[test]
fn the_tutorials_lines_work_with_a_master_behind_tls() {
    let rig = rig();
    rig.start_full_master();
    let (welcome, url) = (rig.welcome(), rig.full_master_url());
    rig.slapos(["configure", "client", "--force", "--master-url", &url])
        .arg("--token-file")
        .arg(rig.write("token", format!("{}\n", welcome.token)))
        .args(["--fingerprint", &welcome.fingerprint])
        .run()
        .ok();
    for line in [
        &["product", "add", "wordpress"][..],
        &["product", "release", "add", "wordpress", KVM],
    ] {
        let data = rig.full_master_data();
        let line = rig.slapos(["master"]).args(line).arg("--data-dir");
        line.arg(data).run().ok();
    }
    // The names of the catalogue, and the library by hand: whom to believe is in the configuration.
    let run = piped(
        &rig,
        "software_list\n\
         instance_a = request(wordpress, \"Wordpress A from console\")\n\
         instance_a.getState()\n\
         slap = slapos.slap.slap()\n\
         slap.initializeConnection(\n  config.master_url,\n  key_file=config.key_file,\n  \
         cert_file=config.cert_file\n)\n\
         list(slap.getOpenOrderDict())\n\
         supply(product.wordpress, \"mycomputer\")\n",
    )
    .ok();
    assert_eq!(
        run.stdout,
        format!("{{'wordpress': '{KVM}'}}\n['Wordpress A from console']\n")
    );
    assert_eq!(
        run.stderr,
        "Traceback (most recent call last):\n  File \"<console>\", line 1, in <module>\n\
         ResourceNotReady: /requestComputerPartition - project PROJ-1 has no node yet \
         (slapos node register)\n\
         Traceback (most recent call last):\n  File \"<console>\", line 1, in <module>\n\
         NotFoundError: supplySupply: there is no compute node mycomputer that you may see\n"
    );
}
