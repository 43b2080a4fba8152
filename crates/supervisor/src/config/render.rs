//! The texts a node writes, byte by byte as N 2.6.

use std::fmt::Write as _;

use super::lex::{signal_name, write_size};
use super::{AutoRestart, DaemonConfig, GroupConfig, LogLevel, LogTarget, ProgramConfig, User};

/// A percent sign starts an expansion when the file is read.
fn escape(text: &str) -> String {
    text.replace('%', "%%")
}

pub(super) fn group(group: &GroupConfig) -> String {
    let mut out = String::new();
    if group.explicit {
        let names: Vec<&str> = group.programs.iter().map(|p| p.section.as_str()).collect();
        let _ = writeln!(out, "[group:{}]\nprograms={}", group.name, names.join(","));
        if group.priority != 999 {
            let _ = writeln!(out, "priority={}", group.priority);
        }
    }
    for program in &group.programs {
        if !out.is_empty() {
            out.push('\n');
        }
        program_section(&mut out, program);
    }
    out
}

fn program_section(out: &mut String, program: &ProgramConfig) {
    let _ = writeln!(out, "[program:{}]", program.section);
    let mut put = |key: &str, value: &str| {
        let _ = writeln!(out, "{key}={value}");
    };
    if let Some(directory) = &program.directory {
        put("directory", &escape(&directory.to_string_lossy()));
    }
    put("command", &escape(&program.command));
    put("process_name", &escape(&program.name));
    put("autostart", bool_text(program.autostart));
    put(
        "autorestart",
        match program.autorestart {
            AutoRestart::Never => "false",
            AutoRestart::Always => "true",
            AutoRestart::Unexpected => "unexpected",
        },
    );
    put("startsecs", &program.startsecs.to_string());
    put("startretries", &program.startretries.to_string());
    let codes: Vec<String> = program.exitcodes.iter().map(ToString::to_string).collect();
    put("exitcodes", &codes.join(","));
    put("stopsignal", &signal_name(program.stopsignal));
    put("stopwaitsecs", &program.stopwaitsecs.to_string());
    put("stopasgroup", bool_text(program.stopasgroup));
    put("killasgroup", bool_text(program.killasgroup));
    match &program.user {
        Some(User::Id(uid)) => put("user", &uid.to_string()),
        Some(User::Name(name)) => put("user", name),
        None => {}
    }
    if let Some(gid) = program.gid {
        put("group", &gid.to_string());
    }
    if let Some(cgroup) = &program.cgroup {
        put("cgroup", &escape(&cgroup.to_string_lossy()));
    }
    if let Some(umask) = program.umask {
        put("umask", &format!("{umask:03o}"));
    }
    if program.priority != 999 {
        put("priority", &program.priority.to_string());
    }
    put("serverurl", program.serverurl.as_deref().unwrap_or("AUTO"));
    put("redirect_stderr", bool_text(program.redirect_stderr));
    // With stderr redirected upstream still names the file twice; the reader ignores the second.
    let stderr = if program.redirect_stderr {
        &program.stdout
    } else {
        &program.stderr
    };
    for (channel, log) in [("stdout", &program.stdout), ("stderr", stderr)] {
        let target = match &log.target {
            LogTarget::Auto => "AUTO".into(),
            LogTarget::None => "NONE".into(),
            LogTarget::File(path) => escape(&path.to_string_lossy()),
        };
        put(&format!("{channel}_logfile"), &target);
        put(
            &format!("{channel}_logfile_maxbytes"),
            &write_size(log.max_bytes),
        );
        put(
            &format!("{channel}_logfile_backups"),
            &log.backups.to_string(),
        );
    }
    for (channel, told) in ["stdout", "stderr"].into_iter().zip(program.told) {
        if told.events {
            put(&format!("{channel}_events_enabled"), "true");
        }
        if told.capture_max_bytes > 0 {
            put(
                &format!("{channel}_capture_maxbytes"),
                &write_size(told.capture_max_bytes),
            );
        }
    }
    let environment: Vec<String> = program
        .environment
        .iter()
        .map(|(key, value)| {
            let quote = if value.contains('"') { '\'' } else { '"' };
            format!("{key}={quote}{}{quote}", escape(value))
        })
        .collect();
    put("environment", &environment.join(","));
}

fn bool_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

pub(super) fn daemon(daemon: &DaemonConfig, include: &str, watchdog: &str) -> String {
    let level = match daemon.loglevel {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    let logfile = daemon
        .logfile
        .as_ref()
        .map_or_else(|| "NONE".into(), |p| p.to_string_lossy().into_owned());
    let socket = daemon.socket.display();
    format!(
        "[rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
         \n\
         [include]\n\
         files = {include}\n\
         \n\
         [supervisorctl]\n\
         serverurl = unix://{socket}\n\
         \n\
         [supervisord]\n\
         loglevel = {level}\n\
         logfile = {logfile}\n\
         logfile_maxbytes = {maxbytes}\n\
         nodaemon = false\n\
         pidfile = {pidfile}\n\
         logfile-backups = {backups}\n\
         \n\
         [unix_http_server]\n\
         file={socket}\n\
         chmod={mode:04o}\n\
         \n\
         [eventlistener:watchdog]\n\
         command={watchdog}\n\
         events=PROCESS_STATE_EXITED, PROCESS_STATE_FATAL\n\
         unless=builtin\n",
        maxbytes = write_size(daemon.logfile_max_bytes),
        pidfile = daemon.pidfile.display(),
        backups = daemon.logfile_backups,
        mode = daemon.socket_mode,
    )
}
