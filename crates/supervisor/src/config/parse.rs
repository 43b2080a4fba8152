//! From sections to what shall run.

use std::path::{Path, PathBuf};

use super::ini::{Document, Section};
use super::lex::{boolean, byte_size, environment, signal_number, split_command};
use super::{
    AutoRestart, ConfigError, DaemonConfig, GroupConfig, LogConfig, LogLevel, LogTarget,
    PoolConfig, ProgramConfig, ToldConfig, User,
};

/// No event listeners may have more events wait for them.
const MAX_BUFFER_SIZE: u32 = 100_000;
/// No communication of a program is longer.
const MAX_CAPTURE_BYTES: u64 = 16 << 20;
/// No program may ask for more copies of itself.
const MAX_NUMPROCS: u32 = 1_000;

/// The daemon's own settings, with the groups not yet read: a daemon that comes back after a
/// crash must find its state even when some program's section is broken.
#[derive(Debug, Clone)]
pub struct DaemonOnly {
    /// The daemon's own settings.
    pub config: DaemonConfig,
    path: PathBuf,
}

impl DaemonOnly {
    /// Reads the main file only.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let document = Document::load_main(path)?;
        Ok(Self {
            config: daemon(&document, path)?,
            path: path.to_owned(),
        })
    }

    /// Reads the groups, from the main file and what it includes.
    pub fn groups(&self) -> Result<Vec<GroupConfig>, ConfigError> {
        let document = Document::load(&self.path)?;
        let here = self.path.parent().unwrap_or_else(|| Path::new("."));
        groups(&document, &here.to_string_lossy())
    }
}

fn daemon(document: &Document, path: &Path) -> Result<DaemonConfig, ConfigError> {
    let here = path
        .parent()
        .unwrap_or_else(|| Path::new("."))
        .to_path_buf();
    let here_text = here.to_string_lossy().into_owned();
    let empty = |name: &str| ConfigError::Section {
        section: name.into(),
        path: path.to_owned(),
        reason: "this section is needed".into(),
    };
    let section = document
        .find("supervisord")
        .ok_or_else(|| empty("supervisord"))?;
    let http = document
        .find("unix_http_server")
        .ok_or_else(|| empty("unix_http_server"))?;
    let expand_path =
        |text: &str| here.join(text.replace("%(here)s", &here_text).replace("%%", "%"));

    let socket = http
        .get("file")
        .filter(|f| !f.is_empty())
        .map(expand_path)
        .ok_or_else(|| http.error("'file', the path of the control socket, is missing"))?;
    let socket_mode = match http.get("chmod") {
        Some(text) => octal(text).map_err(|e| http.error(e))?,
        None => 0o700,
    };
    let logfile = match section.get("logfile") {
        Some(text) if text.eq_ignore_ascii_case("none") || text.is_empty() => None,
        Some(text) => Some(expand_path(text)),
        None => Some(here.join("supervisord.log")),
    };
    let number = |key: &str, default: u32| -> Result<u32, ConfigError> {
        section.get(key).map_or(Ok(default), |text| {
            integer(text).map_err(|e| section.error(format!("{key}: {e}")))
        })
    };
    Ok(DaemonConfig {
        socket,
        socket_mode,
        logfile,
        logfile_max_bytes: section
            .get("logfile_maxbytes")
            .map_or(Ok(50 << 20), byte_size)
            .map_err(|e| section.error(e))?,
        logfile_backups: number("logfile_backups", 10)?,
        pidfile: section
            .get("pidfile")
            .map_or_else(|| here.join("supervisord.pid"), expand_path),
        loglevel: match section
            .get("loglevel")
            .unwrap_or("info")
            .to_lowercase()
            .as_str()
        {
            "debug" | "trace" | "blather" => LogLevel::Debug,
            "info" => LogLevel::Info,
            "warn" => LogLevel::Warn,
            "error" | "critical" => LogLevel::Error,
            other => return Err(section.error(format!("'{other}' is not a log level"))),
        },
        identifier: section.get("identifier").unwrap_or("supervisor").to_owned(),
        childlogdir: section.get("childlogdir").map(expand_path),
        umask: section
            .get("umask")
            .map_or(Ok(0o022), octal)
            .map_err(|e| section.error(e))?,
    })
}

fn groups(document: &Document, here: &str) -> Result<Vec<GroupConfig>, ConfigError> {
    let mut groups: Vec<GroupConfig> = Vec::new();
    let mut taken = std::collections::HashSet::new();
    for section in document.sections() {
        let Some(name) = section.name.strip_prefix("group:") else {
            continue;
        };
        let name = checked_name(name).map_err(|e| section.error(e))?;
        let priority = priority(section)?;
        let mut programs = Vec::new();
        for program in section
            .get("programs")
            .unwrap_or("")
            .split(',')
            .map(str::trim)
            .filter(|p| !p.is_empty())
        {
            let wanted = format!("program:{program}");
            let found = document.find(&wanted).ok_or_else(|| {
                section.error(format!("[{}] names unknown program {wanted}", section.name))
            })?;
            taken.insert(wanted);
            programs.extend(processes(found, &name, here)?);
        }
        groups.push(GroupConfig {
            name,
            priority,
            programs,
            explicit: true,
            listener: None,
        });
    }
    for section in document.sections() {
        let Some(name) = section.name.strip_prefix("eventlistener:") else {
            continue;
        };
        // Nothing to run, or nothing for us to run.
        let is_empty = section.get("command").is_some_and(str::is_empty);
        if is_empty || section.get("unless") == Some("builtin") {
            continue;
        }
        let name = checked_name(name).map_err(|e| section.error(e))?;
        let listener = pool(section).map_err(|e| section.error(e))?;
        groups.push(GroupConfig {
            priority: match section.get("priority") {
                Some(_) => priority(section)?,
                // Listeners start before what they are told of, and stop after it.
                None => -1,
            },
            programs: processes(section, &name, here)?,
            name,
            explicit: false,
            listener: Some(listener),
        });
    }
    for section in document.sections() {
        let Some(name) = section.name.strip_prefix("program:") else {
            continue;
        };
        if taken.contains(&section.name) {
            continue;
        }
        let name = checked_name(name).map_err(|e| section.error(e))?;
        let programs = processes(section, &name, here)?;
        groups.push(GroupConfig {
            priority: priority(section)?,
            programs,
            name,
            explicit: false,
            listener: None,
        });
    }
    for (at, group) in groups.iter_mut().enumerate() {
        // Stable: equal priorities keep the order of the file, which is the order they start in.
        group.programs.sort_by_key(|p| p.priority);
        let mut names = std::collections::HashSet::new();
        if let Some(double) = group.programs.iter().find(|p| !names.insert(&p.name)) {
            return Err(ConfigError::Section {
                section: format!("group:{}", group.name),
                path: PathBuf::from(here),
                reason: format!(
                    "group number {at} has two processes named '{}'",
                    double.name
                ),
            });
        }
    }
    let mut names = std::collections::HashSet::new();
    if let Some(double) = groups.iter().find(|g| !names.insert(&g.name)) {
        return Err(ConfigError::Section {
            section: double.name.clone(),
            path: PathBuf::from(here),
            reason: format!("two groups are named '{}'", double.name),
        });
    }
    // As upstream: names decide where priorities do not.
    groups.sort_by(|a, b| a.order().cmp(&b.order()));
    Ok(groups)
}

/// What the listeners of a section are told.
fn pool(section: &Section) -> Result<PoolConfig, String> {
    let text = section.get("events").unwrap_or("");
    let mut events: Vec<String> = text
        .split(',')
        .map(|event| event.trim().to_uppercase())
        .filter(|event| !event.is_empty())
        .collect();
    if events.is_empty() {
        return Err(format!(
            "[{}] section requires an \"events\" line",
            section.name
        ));
    }
    if let Some(unknown) = events.iter().find(|event| !crate::notice::is_event(event)) {
        let name = &section.name;
        return Err(format!("Unknown event type {unknown} in [{name}] events"));
    }
    events.sort();
    events.dedup();
    let buffer_size = section.get("buffer_size").map_or(Ok(10), integer)?;
    if !(1..=MAX_BUFFER_SIZE).contains(&buffer_size) {
        return Err(format!(
            "buffer_size is {buffer_size}; it is 1 to {MAX_BUFFER_SIZE}"
        ));
    }
    if section.get("redirect_stderr").map(boolean) == Some(Ok(true)) {
        return Err("redirect_stderr=true would interfere with the eventlistener protocol".into());
    }
    const HANDLER: &str = "supervisor.dispatchers:default_handler";
    if let Some(handler) = section.get("result_handler").filter(|h| *h != HANDLER) {
        return Err(format!(
            "result_handler '{handler}' cannot be used, only {HANDLER}"
        ));
    }
    Ok(PoolConfig {
        events,
        buffer_size,
    })
}

fn priority(section: &Section) -> Result<i32, ConfigError> {
    section
        .get("priority")
        .map_or(Ok(999), |text| {
            text.trim()
                .parse::<i32>()
                .map_err(|_| format!("'{text}' is not a number"))
        })
        .map_err(|e| section.error(e))
}

fn processes(
    section: &Section,
    group: &str,
    here: &str,
) -> Result<Vec<ProgramConfig>, ConfigError> {
    let count = section
        .get("numprocs")
        .map_or(Ok(1), integer)
        .map_err(|e| section.error(e))?;
    let first = section
        .get("numprocs_start")
        .map_or(Ok(0), integer)
        .map_err(|e| section.error(e))?;
    if count > MAX_NUMPROCS {
        return Err(section.error(format!(
            "numprocs is {count}; at most {MAX_NUMPROCS} are started"
        )));
    }
    (0..count)
        .map(|i| {
            process(section, group, here, count, first.saturating_add(i))
                .map_err(|e| section.error(e))
        })
        .collect()
}

fn process(
    section: &Section,
    group: &str,
    here: &str,
    count: u32,
    number: u32,
) -> Result<ProgramConfig, String> {
    let label = section
        .name
        .split_once(':')
        .map_or(section.name.as_str(), |(_, name)| name)
        .trim()
        .to_owned();
    let variables = |name: &str| -> Option<Variable> {
        Some(match name {
            "here" => Variable::Text(here.to_owned()),
            "program_name" => Variable::Text(label.clone()),
            "group_name" => Variable::Text(group.to_owned()),
            "host_node_name" => Variable::Text(
                rustix::system::uname()
                    .nodename()
                    .to_string_lossy()
                    .into_owned(),
            ),
            "process_num" => Variable::Number(number),
            "numprocs" => Variable::Number(count),
            _ => Variable::Text(std::env::var(name.strip_prefix("ENV_")?).ok()?),
        })
    };
    let text = |key: &str| {
        section
            .get(key)
            .map(|value| expand(value, &variables))
            .transpose()
    };
    let number_of = |key: &str, default: u32| text(key)?.map_or(Ok(default), |t| integer(&t));
    let flag = |key: &str, default: bool| text(key)?.map_or(Ok(default), |t| boolean(&t));

    let command = text("command")?.filter(|c| !c.is_empty()).ok_or_else(|| {
        format!(
            "program section {} does not specify a command",
            section.name
        )
    })?;
    split_command(&command).map_err(|e| format!("command: {e}"))?;
    let name = checked_name(&text("process_name")?.unwrap_or_else(|| label.clone()))?;
    if count > 1
        && !section
            .get("process_name")
            .unwrap_or("")
            .contains("%(process_num)")
    {
        return Err("%(process_num) must be present within process_name when numprocs > 1".into());
    }
    let autorestart = match text("autorestart")?.as_deref().map(str::trim) {
        None => AutoRestart::Unexpected,
        Some(value) if value.eq_ignore_ascii_case("unexpected") => AutoRestart::Unexpected,
        Some(value) if boolean(value)? => AutoRestart::Always,
        Some(_) => AutoRestart::Never,
    };
    let exitcodes = match text("exitcodes")? {
        None => vec![0],
        Some(value) => value
            .split(',')
            .map(str::trim)
            .filter(|c| !c.is_empty())
            .map(|c| {
                let code = c.parse::<i32>().ok().filter(|c| (0..=255).contains(c));
                code.ok_or_else(|| format!("not a valid list of exit codes: '{value}'"))
            })
            .collect::<Result<_, _>>()?,
    };
    let signal = text("stopsignal")?.unwrap_or_else(|| "TERM".into());
    let stopsignal = signal_number(&signal)
        .ok_or_else(|| format!("value '{signal}' is not a valid signal name"))?;
    let stopasgroup = flag("stopasgroup", false)?;
    let killasgroup = flag("killasgroup", stopasgroup)?;
    if stopasgroup && !killasgroup {
        return Err("Cannot set stopasgroup=true and killasgroup=false".into());
    }
    let user = text("user")?
        .filter(|u| !u.is_empty())
        .map(|u| match u.parse::<u32>() {
            Ok(uid) => User::Id(uid),
            Err(_) => User::Name(u),
        });
    let gid = match text("group")?.filter(|g| !g.is_empty()) {
        Some(gid) => Some(
            gid.parse::<u32>()
                .map_err(|_| format!("group '{gid}' is not a numeric group id"))?,
        ),
        None => None,
    };
    let redirect_stderr = flag("redirect_stderr", false)?;
    let log = |channel: &str| -> Result<LogConfig, String> {
        let target = match text(&format!("{channel}_logfile"))? {
            None => LogTarget::Auto,
            Some(value) => match value.to_lowercase().as_str() {
                "auto" => LogTarget::Auto,
                "none" | "off" | "syslog" | "" => LogTarget::None,
                _ => LogTarget::File(PathBuf::from(value)),
            },
        };
        Ok(LogConfig {
            target,
            max_bytes: text(&format!("{channel}_logfile_maxbytes"))?
                .map_or(Ok(50 << 20), |t| byte_size(&t))?,
            backups: number_of(&format!("{channel}_logfile_backups"), 10)?,
        })
    };
    let told = |channel: &str| -> Result<ToldConfig, String> {
        Ok(ToldConfig {
            events: flag(&format!("{channel}_events_enabled"), false)?,
            capture_max_bytes: text(&format!("{channel}_capture_maxbytes"))?
                .map_or(Ok(0), |t| byte_size(&t))?
                .min(MAX_CAPTURE_BYTES),
        })
    };
    let stdout = log("stdout")?;
    let stderr = if redirect_stderr {
        LogConfig::none()
    } else {
        log("stderr")?
    };
    Ok(ProgramConfig {
        section: label.clone(),
        name,
        command,
        directory: text("directory")?
            .filter(|d| !d.is_empty())
            .map(PathBuf::from),
        priority: text("priority")?.map_or(Ok(999), |t| {
            t.trim()
                .parse()
                .map_err(|_| format!("priority '{t}' is not a number"))
        })?,
        autostart: flag("autostart", true)?,
        autorestart,
        startsecs: number_of("startsecs", 1)?,
        startretries: number_of("startretries", 3)?,
        exitcodes,
        stopsignal,
        stopwaitsecs: number_of("stopwaitsecs", 10)?,
        stopasgroup,
        killasgroup,
        user,
        gid,
        cgroup: text("cgroup")?.filter(|c| !c.is_empty()).map(PathBuf::from),
        umask: text("umask")?.map(|t| octal(&t)).transpose()?,
        redirect_stderr,
        stdout,
        stderr,
        environment: environment(&text("environment")?.unwrap_or_default())?,
        serverurl: text("serverurl")?
            .filter(|u| !u.is_empty() && !u.trim().eq_ignore_ascii_case("auto")),
        told: [told("stdout")?, told("stderr")?],
    })
}

enum Variable {
    Text(String),
    Number(u32),
}

/// Python's `%(name)s`, `%(name)d`, `%(name)02d` and `%%`.
fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<Variable>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('(') {
            let (name, after) = after
                .split_once(')')
                .ok_or_else(|| format!("'{text}': '%(' without ')'"))?;
            let value = lookup(name).ok_or_else(|| {
                format!("Format string '{text}' contains names ('{name}') which cannot be expanded")
            })?;
            let end = after
                .find(|c: char| !c.is_ascii_digit())
                .ok_or_else(|| format!("'{text}': %({name}) needs a type, s or d"))?;
            let width = after[..end].parse::<usize>().unwrap_or(0).min(64);
            let zero = after.starts_with('0');
            match (after.get(end..end + 1).unwrap_or(""), value) {
                ("s", Variable::Text(value)) => out.push_str(&value),
                ("s" | "d", Variable::Number(n)) if zero => out.push_str(&format!("{n:0width$}")),
                ("s" | "d", Variable::Number(n)) => out.push_str(&format!("{n:width$}")),
                _ => {
                    return Err(format!(
                        "Format string '{text}' for '{name}' is badly formatted"
                    ));
                }
            }
            rest = &after[end + 1..];
        } else {
            // Not an expansion: upstream refuses it, a lone percent sign is what was meant.
            out.push('%');
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn checked_name(name: &str) -> Result<String, String> {
    let name = name.trim();
    match name.chars().find(|c| " :/".contains(*c) || c.is_control()) {
        Some(c) => Err(format!(
            "Invalid name: '{name}' because of character: '{c}'"
        )),
        None if name.is_empty() => Err("Invalid name: it is empty".into()),
        None => Ok(name.to_owned()),
    }
}

fn integer(text: &str) -> Result<u32, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("'{text}' is not a whole number"))
}

fn octal(text: &str) -> Result<u32, String> {
    let digits = text.trim().trim_start_matches("0o");
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|m| *m <= 0o7777)
        .ok_or_else(|| format!("'{text}' is not an octal mode"))
}
