//! What `supervisorctl` prints, and its exit codes: text and number, for a command line to show.

use std::fmt::Write as _;
use std::io;
use std::io::{BufRead, Write};

use crate::Value;
use crate::client::{Changes, Client, ClientError, ProcessInfo, ProcessResult};
use crate::fault::FaultCode;
use crate::state::ProcessState;

/// What `tail` shows without a number.
const TAIL: u32 = 1_600;

/// What to print on standard output, and the exit code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Complete lines.
    pub text: String,
    /// 0 done; 1 failed; 2 wrong arguments; 3 (`status`) something does not run; 4 (`status`)
    /// unknown name or no daemon; 7 not running.
    pub code: u8,
}

impl Outcome {
    fn say(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    fn refuse(&mut self, code: u8, line: impl AsRef<str>) {
        self.code = code;
        self.say(line);
    }

    fn failed(&mut self, error: &ClientError) {
        self.refuse(1, format!("error: {error}"));
    }
}

/// `group:name`, or the name alone when both are equal.
pub fn namespec(group: &str, name: &str) -> String {
    if group == name {
        name.to_owned()
    } else {
        format!("{group}:{name}")
    }
}

/// The group and the process that a name means; no process for `group:` and `group:*`.
pub fn split_namespec(name: &str) -> (&str, Option<&str>) {
    match name.split_once(':') {
        Some((group, "" | "*")) => (group, None),
        Some((group, process)) => (group, Some(process)),
        None => (name, Some(name)),
    }
}

/// The lines of `status`.
pub fn status_lines(infos: &[&ProcessInfo]) -> String {
    let names: Vec<String> = infos.iter().map(|i| i.namespec()).collect();
    let width = names
        .iter()
        .map(|n| n.chars().count())
        .max()
        .unwrap_or(0)
        .max(30)
        + 3;
    let mut text = String::new();
    for (name, info) in names.iter().zip(infos) {
        let _ = writeln!(
            text,
            "{name:width$}{:10}{}",
            info.state.name(),
            info.description
        );
    }
    text
}

/// Chooses what `status NAME…` shows and its exit code.
pub fn status(infos: &[ProcessInfo], names: &[&str]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut chosen: Vec<&ProcessInfo> = Vec::new();
    if names.is_empty() || names.contains(&"all") {
        chosen.extend(infos);
    } else {
        for name in names {
            let (group, process) = split_namespec(name);
            let before = chosen.len();
            chosen.extend(
                infos
                    .iter()
                    .filter(|i| i.group == group && process.is_none_or(|p| p == i.name)),
            );
            if chosen.len() == before {
                outcome.refuse(
                    4,
                    match process {
                        None => format!("{group}: ERROR (no such group)"),
                        Some(_) => format!("{name}: ERROR (no such process)"),
                    },
                );
            }
        }
    }
    outcome.text.push_str(&status_lines(&chosen));
    if chosen.iter().any(|i| i.state.is_stopped()) {
        outcome.code = 3;
    }
    outcome
}

/// One line for one process's answer to `start`, `stop` or `signal`; `done` is the word for success.
pub fn result_line(name: &str, status: i32, description: &str, done: &str) -> String {
    let starting = done == "started";
    let reason = match FaultCode::from_code(status) {
        Some(FaultCode::Success) => return format!("{name}: {done}"),
        Some(FaultCode::BadName) => "no such process",
        Some(FaultCode::BadSignal) => "bad signal name",
        Some(FaultCode::NotRunning) => "not running",
        Some(FaultCode::NoFile) => "no such file",
        Some(FaultCode::NotExecutable) => "file is not executable",
        Some(FaultCode::AlreadyStarted) => "already started",
        Some(FaultCode::SpawnError) => "spawn error",
        Some(FaultCode::AbnormalTermination) => "abnormal termination",
        Some(FaultCode::Failed) if !starting => return description.to_owned(),
        _ => description,
    };
    format!("{name}: ERROR ({reason})")
}

/// The lines of `reread`.
pub fn changes_lines(changes: &Changes) -> String {
    let mut lines: Vec<(&String, &str)> = Vec::new();
    lines.extend(changes.added.iter().map(|n| (n, "available")));
    lines.extend(changes.changed.iter().map(|n| (n, "changed")));
    lines.extend(changes.removed.iter().map(|n| (n, "disappeared")));
    lines.sort();
    if lines.is_empty() {
        return "No config updates to processes\n".to_owned();
    }
    lines
        .iter()
        .map(|(name, what)| format!("{name}: {what}\n"))
        .collect()
}

/// Exit code after a refusal; `ignored` is the one that is no failure.
fn code_of(status: i32, ignored: Option<FaultCode>) -> u8 {
    match FaultCode::from_code(status) {
        Some(FaultCode::Success) => 0,
        code if code.is_some() && code == ignored => 0,
        Some(FaultCode::SpawnError | FaultCode::AbnormalTermination | FaultCode::NotRunning) => 7,
        _ => 1,
    }
}

/// Runs `supervisorctl ARGS…`. `tail -f` returns at once with nothing: use [`follow`] for it.
pub fn run(client: &Client, args: &[&str]) -> Outcome {
    let mut outcome = Outcome::default();
    let Some((action, names)) = args.split_first() else {
        // Upstream opens an interactive shell, which begins with the status.
        return run(client, &["status"]);
    };
    match *action {
        "status" => match client.all_process_info() {
            Ok(infos) => return status(&infos, names),
            Err(error) => {
                unreachable_daemon(&mut outcome, client, &error);
                outcome.code = 4;
            }
        },
        "start" | "stop" | "restart" | "signal" | "tail" | "maintail" | "avail"
            if !daemon_answers(client, &mut outcome) => {}
        "start" if names.is_empty() => usage(&mut outcome, 2, "start"),
        "stop" | "restart" if names.is_empty() => usage(&mut outcome, 1, action),
        "start" => start(client, names, &mut outcome),
        "stop" => stop(client, names, &mut outcome),
        "restart" => {
            stop(client, names, &mut outcome);
            start(client, names, &mut outcome);
        }
        "signal" => match names.split_first() {
            Some((signal, names)) if !names.is_empty() => {
                send_signal(client, signal, names, &mut outcome)
            }
            _ => {
                outcome.refuse(1, "Error: signal requires a signal name and a process name");
                help(&mut outcome, "signal");
            }
        },
        "tail" => tail(client, names, &mut outcome),
        "maintail" => maintail(client, names, &mut outcome),
        "avail" if names.is_empty() => avail(client, &mut outcome),
        "reread" | "shutdown" | "reload" | "avail" | "version" if !names.is_empty() => {
            outcome.refuse(1, format!("Error: {action} accepts no arguments"));
        }
        "reread" => match client.reload() {
            Ok(changes) => outcome.text = changes_lines(&changes),
            Err(error) if error.fault() == Some(FaultCode::CantReread) => {
                let ClientError::Fault { fault, .. } = &error else {
                    return outcome;
                };
                outcome.refuse(1, format!("ERROR: {}", fault.text));
            }
            Err(error) => lesser_failure(
                &mut outcome,
                client,
                &error,
                "ERROR: supervisor shutting down",
            ),
        },
        "update" => update(client, names, &mut outcome),
        "pid" => pid(client, names, &mut outcome),
        "add" | "remove" => change_groups(client, action, names, &mut outcome),
        "clear" => clear(client, names, &mut outcome),
        "shutdown" => match client.shutdown() {
            Ok(()) => outcome.say("Shut down"),
            Err(error) => {
                lesser_failure(&mut outcome, client, &error, "ERROR: already shutting down")
            }
        },
        "reload" => match client.call("supervisor.restart", &[]) {
            Ok(_) => outcome.say("Restarted supervisord"),
            Err(error) => {
                lesser_failure(&mut outcome, client, &error, "ERROR: already shutting down")
            }
        },
        "version" => match client.call("supervisor.getSupervisorVersion", &[]) {
            Ok(version) => outcome.say(version.as_str().unwrap_or_default()),
            Err(error) => unreachable_daemon(&mut outcome, client, &error),
        },
        "help" => {
            outcome.say("actions: add avail clear fg help maintail pid reload remove reread restart shutdown signal start status stop tail update version");
            if let Some(topic) = names.first() {
                help(&mut outcome, topic);
            }
        }
        other => {
            outcome.say(format!("*** Unknown syntax: {}", args.join(" ")));
            outcome.code = 1;
            let _ = other;
        }
    }
    outcome
}

/// Whether these arguments ask for a log that goes on: then call [`follow`].
pub fn is_follow(args: &[&str]) -> bool {
    args.first() == Some(&"tail") && args.get(1) == Some(&"-f")
}

/// Runs `tail -f NAME [stdout|stderr]`, copying to `out` until the daemon ends or `out` fails.
pub fn follow(client: &Client, args: &[&str], out: &mut dyn Write) -> Outcome {
    let mut outcome = Outcome::default();
    let (name, channel) = match args.get(2..).unwrap_or_default() {
        [name] => (*name, "stdout"),
        [name, channel @ ("stdout" | "stderr")] => (*name, *channel),
        _ => {
            outcome.refuse(1, "Error: tail requires process name");
            return outcome;
        }
    };
    let _ = writeln!(out, "==> Press Ctrl-C to exit <==");
    match client.follow(name, channel, out) {
        Ok(()) => {}
        Err(ClientError::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) if error.fault() == Some(FaultCode::BadName) => {
            outcome.refuse(1, format!("{name}: ERROR (no such process name)"));
        }
        Err(error) => unreachable_daemon(&mut outcome, client, &error),
    }
    outcome
}

/// Whether these arguments ask for a process in the foreground: then call [`foreground`].
pub fn is_foreground(args: &[&str]) -> bool {
    args.first() == Some(&"fg")
}

/// Runs `fg NAME`: each line of `input` is given to the process to read, and what it writes goes to
/// the two `outputs` (stdout and stderr) from threads of their own, until `input` or the process
/// ends. The threads go on until the daemon ends or the outputs fail.
pub fn foreground(
    client: &Client,
    args: &[&str],
    input: &mut dyn BufRead,
    outputs: [Box<dyn Write + Send>; 2],
) -> Outcome {
    let mut outcome = Outcome::default();
    if !daemon_answers(client, &mut outcome) {
        return outcome;
    }
    let name = match args.get(1..).unwrap_or_default() {
        [name] => *name,
        [] => {
            outcome.refuse(1, "ERROR: no process name supplied");
            help(&mut outcome, "fg");
            return outcome;
        }
        _ => {
            outcome.refuse(1, "ERROR: too many process names supplied");
            return outcome;
        }
    };
    match client.process_info(name) {
        Ok(info) if info.state == ProcessState::Running => {}
        Ok(_) => {
            outcome.refuse(1, "ERROR: process not running");
            return outcome;
        }
        Err(error) if error.fault() == Some(FaultCode::BadName) => {
            outcome.refuse(1, "ERROR: bad process name supplied");
            return outcome;
        }
        Err(error) => {
            unreachable_daemon(&mut outcome, client, &error);
            return outcome;
        }
    }
    for (channel, mut out) in ["stdout", "stderr"].into_iter().zip(outputs) {
        if channel == "stdout" {
            let _ = writeln!(out, "==> Press Ctrl-C to exit <==");
        }
        let (client, name) = (client.clone(), name.to_owned());
        // A process whose stderr goes where its stdout goes has one log only.
        let copy = move || drop(client.follow(&name, channel, out.as_mut()));
        let thread = std::thread::Builder::new().name("follow".into());
        if let Err(error) = thread.spawn(copy) {
            outcome.refuse(1, format!("ERROR: cannot start a thread: {error}"));
            return outcome;
        }
    }
    let mut line = String::new();
    while input.read_line(&mut line).is_ok_and(|read| read > 0) {
        if !line.ends_with('\n') {
            line.push('\n');
        }
        match client.send_stdin(name, &line) {
            Ok(()) => {}
            Err(error) if error.fault() == Some(FaultCode::NotRunning) => {
                outcome.say("Process got killed");
                break;
            }
            Err(error) => {
                outcome.say(format!("ERROR: {error}"));
                break;
            }
        }
        line.clear();
        let state = client.process_info(name).map(|info| info.state);
        if state.is_ok_and(|state| state != ProcessState::Running) {
            outcome.say("Process got killed");
            break;
        }
    }
    outcome.say("Exiting foreground");
    outcome
}

fn unreachable_daemon(outcome: &mut Outcome, client: &Client, error: &ClientError) {
    let url = format!("unix://{}", client.socket().display());
    match error {
        ClientError::Connect { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            outcome.refuse(7, format!("{url} no such file"));
        }
        ClientError::Connect { source, .. }
            if source.kind() == io::ErrorKind::ConnectionRefused =>
        {
            outcome.refuse(4, format!("{url} refused connection"));
        }
        error => outcome.failed(error),
    }
}

fn lesser_failure(
    outcome: &mut Outcome,
    client: &Client,
    error: &ClientError,
    shutting_down: &str,
) {
    if error.fault() == Some(FaultCode::ShutdownState) {
        outcome.refuse(1, shutting_down);
    } else {
        unreachable_daemon(outcome, client, error);
    }
}

fn daemon_answers(client: &Client, outcome: &mut Outcome) -> bool {
    match client.call("supervisor.getAPIVersion", &[]) {
        Ok(_) => true,
        Err(error) => {
            unreachable_daemon(outcome, client, &error);
            false
        }
    }
}

fn usage(outcome: &mut Outcome, code: u8, action: &str) {
    outcome.refuse(code, format!("Error: {action} requires a process name"));
    help(outcome, action);
}

fn help(outcome: &mut Outcome, action: &str) {
    if action == "fg" {
        outcome.say("fg <process>\tConnect to a process in foreground mode");
        outcome.say("\t\tCtrl-C to exit");
        return;
    }
    let title = match action {
        "start" => "Start",
        "stop" => "Stop",
        "restart" => "Restart",
        "signal" => "Signal",
        _ => return,
    };
    let tabs = if action == "restart" { "\t" } else { "\t\t" };
    let extra = if action == "signal" {
        " <signal name>"
    } else {
        ""
    };
    outcome.say(format!("{action}{extra} <name>\t\t{title} a process"));
    outcome.say(format!(
        "{action}{extra} <gname>:*{tabs}{title} all processes in a group"
    ));
    outcome.say(format!(
        "{action}{extra} <name> <name>\t{title} multiple processes or groups"
    ));
    outcome.say(format!("{action}{extra} all\t\t{title} all processes"));
    if action == "restart" {
        outcome.say("Note: restart does not reread config files. For that, see reread and update.");
    }
}

/// Carries out an order on names, groups or all, and prints each answer.
struct Order<'a> {
    done: &'a str,
    ignored: Option<FaultCode>,
    unknown_group: u8,
    all: &'a dyn Fn() -> Result<Vec<ProcessResult>, ClientError>,
    group: &'a dyn Fn(&str) -> Result<Vec<ProcessResult>, ClientError>,
    one: &'a dyn Fn(&str) -> Result<(), ClientError>,
}

impl Order<'_> {
    fn run(&self, names: &[&str], outcome: &mut Outcome) {
        if names.contains(&"all") {
            match (self.all)() {
                Ok(results) => self.print(&results, outcome),
                Err(error) => outcome.failed(&error),
            }
            return;
        }
        for name in names {
            match split_namespec(name) {
                (group, None) => match (self.group)(group) {
                    Ok(results) => self.print(&results, outcome),
                    Err(error) if error.fault() == Some(FaultCode::BadName) => {
                        outcome.refuse(
                            self.unknown_group,
                            format!("{group}: ERROR (no such group)"),
                        );
                    }
                    Err(error) => outcome.failed(&error),
                },
                (group, Some(process)) => {
                    let name = namespec(group, process);
                    match (self.one)(&name) {
                        Ok(()) => outcome.say(format!("{name}: {}", self.done)),
                        Err(ClientError::Fault { fault, .. }) => {
                            self.print_one(&name, fault.code, &fault.text, outcome);
                        }
                        Err(error) => outcome.failed(&error),
                    }
                }
            }
        }
    }

    fn print(&self, results: &[ProcessResult], outcome: &mut Outcome) {
        for result in results {
            let name = namespec(&result.group, &result.name);
            self.print_one(&name, result.status, &result.description, outcome);
        }
    }

    fn print_one(&self, name: &str, status: i32, description: &str, outcome: &mut Outcome) {
        outcome.say(result_line(name, status, description, self.done));
        match code_of(status, self.ignored) {
            0 => {}
            code => outcome.code = code,
        }
    }
}

fn start(client: &Client, names: &[&str], outcome: &mut Outcome) {
    let order = Order {
        done: "started",
        ignored: Some(FaultCode::AlreadyStarted),
        unknown_group: 2,
        all: &|| client.start_all(true),
        group: &|group| client.start_group(group, true),
        one: &|name| client.start(name, true),
    };
    order.run(names, outcome);
}

fn stop(client: &Client, names: &[&str], outcome: &mut Outcome) {
    let order = Order {
        done: "stopped",
        ignored: Some(FaultCode::NotRunning),
        unknown_group: 1,
        all: &|| client.stop_all(true),
        group: &|group| client.stop_group(group, true),
        one: &|name| client.stop(name, true),
    };
    order.run(names, outcome);
}

fn send_signal(client: &Client, signal: &str, names: &[&str], outcome: &mut Outcome) {
    let order = Order {
        done: "signalled",
        ignored: None,
        unknown_group: 1,
        all: &|| client.signal_all(signal),
        group: &|group| client.signal_group(group, signal),
        one: &|name| client.signal(name, signal),
    };
    order.run(names, outcome);
}

fn tail(client: &Client, args: &[&str], outcome: &mut Outcome) {
    let (bytes, rest) = match args.split_first() {
        None => return outcome.refuse(1, "Error: too few arguments"),
        Some((&"-f", _)) => return,
        Some((option, rest)) if option.starts_with('-') => match option[1..].parse::<u32>() {
            Ok(bytes) => (bytes, rest),
            Err(_) => return outcome.refuse(1, format!("Error: bad argument {option}")),
        },
        Some(_) => (TAIL, args),
    };
    let (name, channel) = match rest {
        [name] => (*name, "stdout"),
        [name, channel @ ("stdout" | "stderr")] => (*name, *channel),
        [_, channel] => return outcome.refuse(1, format!("Error: bad channel '{channel}'")),
        [] => return outcome.refuse(1, "Error: tail requires process name"),
        _ => return outcome.refuse(1, "Error: too many arguments"),
    };
    match client.tail_channel(name, channel, bytes) {
        Ok(text) => outcome.say(text),
        Err(error) => {
            let reason = match error.fault() {
                Some(FaultCode::NoFile) => "no log file",
                Some(FaultCode::Failed) => "unknown error reading log",
                Some(FaultCode::BadName) => "no such process name",
                _ => return outcome.failed(&error),
            };
            outcome.refuse(1, format!("{name}: ERROR ({reason})"));
        }
    }
}

/// The end of the daemon's own log.
fn maintail(client: &Client, args: &[&str], outcome: &mut Outcome) {
    let bytes = match args {
        [] => TAIL,
        [option] => match option.strip_prefix('-').map(str::parse::<u32>) {
            Some(Ok(bytes)) => bytes,
            _ => return outcome.refuse(1, format!("Error: bad argument {option}")),
        },
        _ => return outcome.refuse(1, "Error: too many arguments"),
    };
    let asked = [Value::Int(-i64::from(bytes)), Value::Int(0)];
    match client.call("supervisor.readLog", &asked) {
        Ok(text) => outcome.say(text.as_str().unwrap_or_default()),
        Err(error) => match error.fault() {
            Some(FaultCode::NoFile) => outcome.refuse(1, "supervisord: ERROR (no log file)"),
            Some(FaultCode::Failed) => {
                outcome.refuse(1, "supervisord: ERROR (unknown error reading log)");
            }
            _ => outcome.failed(&error),
        },
    }
}

/// Every configured process, whether it is in use or not.
fn avail(client: &Client, outcome: &mut Outcome) {
    let all = match client.call("supervisor.getAllConfigInfo", &[]) {
        Ok(all) => all,
        Err(error) => {
            return lesser_failure(outcome, client, &error, "ERROR: supervisor shutting down");
        }
    };
    let Value::Array(all) = all else { return };
    for one in &all {
        let text = |name: &str| one.member(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| one.member(name).and_then(Value::as_int).unwrap_or_default();
        let is = |name: &str| one.member(name) == Some(&Value::Bool(true));
        outcome.say(format!(
            "{:<32} {:<9} {:<9} {}:{}",
            namespec(text("group"), text("name")),
            if is("inuse") { "in use" } else { "avail" },
            if is("autostart") { "auto" } else { "manual" },
            number("group_prio"),
            number("process_prio"),
        ));
    }
}

fn update(client: &Client, names: &[&str], outcome: &mut Outcome) {
    let only = if names.contains(&"all") { &[] } else { names };
    if !only.is_empty() {
        let known = client
            .all_process_info()
            .and_then(|infos| Ok((infos, client.reload()?)));
        match known {
            Err(error) => {
                return lesser_failure(outcome, client, &error, "ERROR: already shutting down");
            }
            Ok((infos, changes)) => {
                for name in only {
                    let active = infos.iter().any(|i| i.group == *name);
                    let pending = [&changes.added, &changes.changed, &changes.removed];
                    if !active && !pending.iter().any(|l| l.iter().any(|n| n == name)) {
                        outcome.refuse(1, format!("ERROR: no such group: {name}"));
                    }
                }
            }
        }
    }
    match client.update((!only.is_empty()).then_some(only)) {
        Err(error) => lesser_failure(outcome, client, &error, "ERROR: already shutting down"),
        Ok(update) => {
            for group in &update.removed {
                outcome.say(format!("{group}: stopped\n{group}: removed process group"));
            }
            for group in &update.changed {
                outcome.say(format!("{group}: stopped\n{group}: updated process group"));
            }
            for group in &update.added {
                outcome.say(format!("{group}: added process group"));
            }
            for (group, error) in &update.failures {
                outcome.refuse(1, format!("{group}: has problems; not updated: {error}"));
            }
        }
    }
}

fn pid(client: &Client, names: &[&str], outcome: &mut Outcome) {
    if names.is_empty() {
        match client.pid() {
            Ok(pid) => outcome.say(pid.to_string()),
            Err(error) => unreachable_daemon(outcome, client, &error),
        }
    } else if names.contains(&"all") {
        match client.all_process_info() {
            Ok(infos) => infos.iter().for_each(|i| outcome.say(i.pid.to_string())),
            Err(error) => unreachable_daemon(outcome, client, &error),
        }
    } else {
        for name in names {
            match client.process_info(name) {
                Ok(info) => {
                    outcome.say(info.pid.to_string());
                    if info.pid == 0 {
                        outcome.code = 7;
                    }
                }
                Err(error) if error.fault() == Some(FaultCode::BadName) => {
                    outcome.refuse(1, format!("No such process {name}"));
                }
                Err(error) => unreachable_daemon(outcome, client, &error),
            }
        }
    }
}

fn change_groups(client: &Client, action: &str, names: &[&str], outcome: &mut Outcome) {
    for name in names {
        let (done, word) = match action {
            "add" => (client.add_group(name), "added"),
            _ => (client.remove_group(name), "removed"),
        };
        match done.as_ref().map_err(|e| (e, e.fault())) {
            Ok(()) => outcome.say(format!("{name}: {word} process group")),
            Err((_, Some(FaultCode::AlreadyAdded))) => {
                outcome.say("ERROR: process group already active")
            }
            Err((_, Some(FaultCode::StillRunning))) => {
                outcome.refuse(1, format!("ERROR: process/group still running: {name}"));
            }
            Err((_, Some(FaultCode::BadName))) => {
                outcome.refuse(1, format!("ERROR: no such process/group: {name}"));
            }
            Err((error, _)) => lesser_failure(outcome, client, error, "ERROR: shutting down"),
        }
    }
}

fn clear(client: &Client, names: &[&str], outcome: &mut Outcome) {
    if names.is_empty() {
        return outcome.refuse(1, "Error: clear requires a process name");
    }
    if names.contains(&"all") {
        return match client.clear_all_logs() {
            Ok(results) => {
                for result in results {
                    let name = namespec(&result.group, &result.name);
                    let line = result_line(&name, result.status, &result.description, "cleared");
                    outcome.say(line);
                }
            }
            Err(error) => outcome.failed(&error),
        };
    }
    for name in names {
        match client.clear_logs(name) {
            Ok(()) => outcome.say(format!("{name}: cleared")),
            Err(error) => {
                let reason = match error.fault() {
                    Some(FaultCode::BadName) => "no such process",
                    Some(FaultCode::Failed) => "failed",
                    _ => {
                        outcome.failed(&error);
                        continue;
                    }
                };
                outcome.refuse(1, format!("{name}: ERROR ({reason})"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::state::ProcessState;

    fn info(group: &str, name: &str, state: ProcessState, description: &str) -> ProcessInfo {
        ProcessInfo {
            group: group.into(),
            name: name.into(),
            state,
            description: description.into(),
            pid: 0,
            start: 0,
            stop: 0,
            now: 0,
            exitstatus: 0,
            spawnerr: String::new(),
            stdout_logfile: String::new(),
        }
    }

    #[test]
    fn status_is_printed_as_upstream_prints_it() {
        let infos = [
            info(
                "slapproxy",
                "slapproxy",
                ProcessState::Running,
                "pid 5946, uptime 0:00:30",
            ),
            info(
                "slappart0",
                "web-on-watch",
                ProcessState::Stopped,
                "Not started",
            ),
        ];
        let outcome = status(&infos, &["slapproxy"]);
        assert_eq!(
            outcome.text,
            "slapproxy                        RUNNING   pid 5946, uptime 0:00:30\n"
        );
        assert_eq!(outcome.code, 0);
        let outcome = status(&infos, &["slappart0:*"]);
        assert_eq!(
            outcome.text,
            "slappart0:web-on-watch           STOPPED   Not started\n"
        );
        assert_eq!(outcome.code, 3);
        let long = [info("g", &"x".repeat(40), ProcessState::Exited, "d")];
        assert!(
            status(&long, &[])
                .text
                .contains(&format!("g:{}   EXITED    d", "x".repeat(40)))
        );
    }

    #[test]
    fn names_are_found_as_upstream_finds_them() {
        let infos = [
            info("g", "a", ProcessState::Running, ""),
            info("g", "b", ProcessState::Exited, ""),
        ];
        let table: [(&[&str], &str, u8); 6] = [
            (&["nope"], "nope: ERROR (no such process)\n", 4),
            (&["nope:"], "nope: ERROR (no such group)\n", 4),
            (&["g"], "g: ERROR (no such process)\n", 4),
            (&["g:c"], "g:c: ERROR (no such process)\n", 4),
            (&["g:a"], "g:a                              RUNNING   \n", 0),
            (&["nope", "all"], "", 3),
        ];
        for (names, text, code) in table {
            let outcome = status(&infos, names);
            if !text.is_empty() {
                assert_eq!(outcome.text, text, "{names:?}");
            }
            assert_eq!(outcome.code, code, "{names:?}");
        }
        assert_eq!(split_namespec("a:b:c"), ("a", Some("b:c")));
    }

    #[test]
    fn no_daemon_is_told_apart() {
        let client = Client::new("/nonexistent/sv.sock");
        let text = "unix:///nonexistent/sv.sock no such file\n".to_owned();
        assert_eq!(
            run(&client, &["status"]),
            Outcome {
                text: text.clone(),
                code: 4
            }
        );
        assert_eq!(run(&client, &["stop", "x"]), Outcome { text, code: 7 });
    }

    #[test]
    fn changes_are_sorted() {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let changes = Changes {
            added: list(&["b"]),
            changed: list(&["a"]),
            removed: list(&["c"]),
        };
        assert_eq!(
            changes_lines(&changes),
            "a: changed\nb: available\nc: disappeared\n"
        );
        assert_eq!(
            changes_lines(&Changes::default()),
            "No config updates to processes\n"
        );
    }
}
