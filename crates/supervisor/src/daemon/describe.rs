//! The structs in which supervisord describes a process and its configuration.

use crate::clock;
use crate::config::{LogConfig, LogTarget, ProgramConfig, User};
use crate::state::ProcessState;
use crate::xmlrpc::Value;

use super::process::Process;

/// What `getProcessInfo` answers.
pub(super) fn process_info(process: &Process) -> Value {
    let state = process.state();
    let now = clock::wall();
    let (start, stop) = (process.started_at, process.stopped_at);
    let spawnerr = process.machine.spawnerr.clone().unwrap_or_default();
    let description = match state {
        ProcessState::Running => format!(
            "pid {}, uptime {}",
            process.pid(),
            clock::uptime(now - start)
        ),
        ProcessState::Fatal | ProcessState::Backoff if spawnerr.is_empty() => {
            format!("unknown error (try \"tail {}\")", process.config.name)
        }
        ProcessState::Fatal | ProcessState::Backoff => spawnerr.clone(),
        ProcessState::Stopped | ProcessState::Exited if start == 0 => "Not started".to_owned(),
        ProcessState::Stopped | ProcessState::Exited => clock::stop_time(stop),
        _ => String::new(),
    };
    let log = |channel: usize| {
        Value::Text(
            process.logs[channel]
                .as_ref()
                .map_or_else(String::new, |l| l.path().display().to_string()),
        )
    };
    Value::Struct(vec![
        ("name".into(), Value::text(&process.config.name)),
        ("group".into(), Value::text(&process.group)),
        ("start".into(), Value::Int(start)),
        ("stop".into(), Value::Int(stop)),
        ("now".into(), Value::Int(now)),
        ("state".into(), Value::Int(state.code().into())),
        ("statename".into(), Value::text(state.name())),
        ("spawnerr".into(), Value::Text(spawnerr)),
        (
            "exitstatus".into(),
            Value::Int(process.machine.exitstatus.unwrap_or(0).into()),
        ),
        ("logfile".into(), log(0)),
        ("stdout_logfile".into(), log(0)),
        ("stderr_logfile".into(), log(1)),
        ("pid".into(), Value::Int(process.pid().into())),
        ("description".into(), Value::Text(description)),
    ])
}

/// What `getAllConfigInfo` answers for one program.
pub(super) fn config_info(
    group: &str,
    priority: i32,
    inuse: bool,
    program: &ProgramConfig,
) -> Value {
    let int = |n: u32| Value::Int(n.into());
    let log = |log: &LogConfig| match &log.target {
        LogTarget::Auto => Value::text("auto"),
        LogTarget::None => Value::text("none"),
        LogTarget::File(path) => Value::Text(path.display().to_string()),
    };
    let size = |log: &LogConfig| Value::Int(i64::try_from(log.max_bytes).unwrap_or(i64::MAX));
    let none = || Value::text("none");
    let capture = |channel: usize| {
        let max = program.told[channel].capture_max_bytes;
        Value::Int(i64::try_from(max).unwrap_or(i64::MAX))
    };
    let uid = match &program.user {
        Some(User::Id(uid)) => int(*uid),
        Some(User::Name(name)) => Value::text(name),
        None => none(),
    };
    let directory = program
        .directory
        .as_ref()
        .map_or_else(none, |d| Value::Text(d.display().to_string()));
    let codes = program
        .exitcodes
        .iter()
        .map(|c| Value::Int((*c).into()))
        .collect();
    let members = [
        ("autostart", Value::Bool(program.autostart)),
        ("directory", directory),
        ("uid", uid),
        ("command", Value::text(&program.command)),
        ("exitcodes", Value::Array(codes)),
        ("group", Value::text(group)),
        ("group_prio", Value::Int(priority.into())),
        ("inuse", Value::Bool(inuse)),
        ("killasgroup", Value::Bool(program.killasgroup)),
        ("name", Value::text(&program.name)),
        ("process_prio", Value::Int(program.priority.into())),
        ("redirect_stderr", Value::Bool(program.redirect_stderr)),
        ("startretries", int(program.startretries)),
        ("startsecs", int(program.startsecs)),
        ("stdout_capture_maxbytes", capture(0)),
        ("stdout_events_enabled", Value::Bool(program.told[0].events)),
        ("stdout_logfile", log(&program.stdout)),
        ("stdout_logfile_backups", int(program.stdout.backups)),
        ("stdout_logfile_maxbytes", size(&program.stdout)),
        ("stdout_syslog", Value::Bool(false)),
        ("stopsignal", Value::Int(program.stopsignal.into())),
        ("stopwaitsecs", int(program.stopwaitsecs)),
        ("stderr_capture_maxbytes", capture(1)),
        ("stderr_events_enabled", Value::Bool(program.told[1].events)),
        ("stderr_logfile", log(&program.stderr)),
        ("stderr_logfile_backups", int(program.stderr.backups)),
        ("stderr_logfile_maxbytes", size(&program.stderr)),
        ("stderr_syslog", Value::Bool(false)),
        (
            "serverurl",
            program.serverurl.as_ref().map_or_else(none, Value::text),
        ),
    ];
    Value::Struct(
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}
