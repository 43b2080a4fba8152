//! The calls of supervisord's XML-RPC interface, with its names, shapes and faults.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::config::{Config, signal_number};
use crate::fault::{Fault, FaultCode};
use crate::logfile::{self, ReadError};
use crate::notice::Notice;
use crate::spawn::{self, Missing};
use crate::state::{ProcessState, Stop};
use crate::xmlrpc::Value;

use super::control::Answer;
use super::deferred::{Deferred, Goal, Item};
use super::describe::{config_info, process_info};
use super::input::Deaf;
use super::process::Process;
use super::{Daemon, Mood};

/// The release of supervisord whose contract this is.
const VERSION: &str = "4.3.0";
const API_VERSION: &str = "3.0";
/// No `system.multicall` holds more calls.
const MAX_CALLS: usize = 1_000;

/// Every method, in alphabetical order.
const METHODS: [&str; 41] = [
    "supervisor.addProcessGroup",
    "supervisor.clearAllProcessLogs",
    "supervisor.clearLog",
    "supervisor.clearProcessLog",
    "supervisor.clearProcessLogs",
    "supervisor.getAPIVersion",
    "supervisor.getAllConfigInfo",
    "supervisor.getAllProcessInfo",
    "supervisor.getIdentification",
    "supervisor.getPID",
    "supervisor.getProcessInfo",
    "supervisor.getState",
    "supervisor.getSupervisorVersion",
    "supervisor.getVersion",
    "supervisor.readLog",
    "supervisor.readMainLog",
    "supervisor.readProcessLog",
    "supervisor.readProcessStderrLog",
    "supervisor.readProcessStdoutLog",
    "supervisor.reloadConfig",
    "supervisor.removeProcessGroup",
    "supervisor.restart",
    "supervisor.sendProcessStdin",
    "supervisor.sendRemoteCommEvent",
    "supervisor.shutdown",
    "supervisor.signalAllProcesses",
    "supervisor.signalProcess",
    "supervisor.signalProcessGroup",
    "supervisor.startAllProcesses",
    "supervisor.startProcess",
    "supervisor.startProcessGroup",
    "supervisor.stopAllProcesses",
    "supervisor.stopProcess",
    "supervisor.stopProcessGroup",
    "supervisor.tailProcessLog",
    "supervisor.tailProcessStderrLog",
    "supervisor.tailProcessStdoutLog",
    "system.listMethods",
    "system.methodHelp",
    "system.methodSignature",
    "system.multicall",
];

/// The parameters of a call, taken one by one.
struct Parameters<'a>(std::slice::Iter<'a, Value>);

impl<'a> Parameters<'a> {
    fn wrong() -> Fault {
        Fault::bare(FaultCode::IncorrectParameters)
    }

    fn text(&mut self) -> Result<&'a str, Fault> {
        self.0
            .next()
            .and_then(Value::as_str)
            .ok_or_else(Self::wrong)
    }

    fn int(&mut self) -> Result<i64, Fault> {
        self.0
            .next()
            .and_then(Value::as_int)
            .ok_or_else(Self::wrong)
    }

    /// `wait`, true when it is left out.
    fn wait(&mut self) -> Result<bool, Fault> {
        self.0.next().map_or(Ok(true), |v| {
            v.as_int().map(|n| n != 0).ok_or_else(Self::wrong)
        })
    }

    /// A signal's name or number.
    fn signal(&mut self) -> Result<i32, Fault> {
        let text = match self.0.next() {
            Some(Value::Text(text)) => text.clone(),
            Some(Value::Int(number)) => number.to_string(),
            _ => return Err(Self::wrong()),
        };
        signal_number(&text).ok_or_else(|| Fault::new(FaultCode::BadSignal, text))
    }

    fn end(mut self) -> Result<(), Fault> {
        self.0.next().map_or(Ok(()), |_| Err(Self::wrong()))
    }
}

impl Daemon {
    /// Carries out one call.
    pub(super) fn call(&mut self, method: &str, parameters: &[Value]) -> Result<Answer, Fault> {
        let mut p = Parameters(parameters.iter());
        if let Some(system) = method.strip_prefix("system.") {
            return self.system_call(system, p);
        }
        let Some(name) = method
            .strip_prefix("supervisor.")
            .filter(|_| METHODS.contains(&method))
        else {
            return Err(Fault::bare(FaultCode::UnknownMethod));
        };
        if self.mood == Mood::Shutdown {
            return Err(Fault::bare(FaultCode::ShutdownState));
        }
        let answer = match name {
            "getAPIVersion" | "getVersion" => p.end().map(|()| Value::text(API_VERSION)),
            "getSupervisorVersion" => p.end().map(|()| Value::text(VERSION)),
            "getIdentification" => p.end().map(|()| Value::text(&self.settings.identifier)),
            "getState" => p.end().map(|()| {
                Value::Struct(vec![
                    ("statecode".into(), Value::Int(self.mood as i64)),
                    ("statename".into(), Value::text(self.mood.name())),
                ])
            }),
            "getPID" => p
                .end()
                .map(|()| Value::Int(rustix::process::getpid().as_raw_nonzero().get().into())),
            "getProcessInfo" => {
                let name = p.text()?;
                p.end()?;
                let id = self.find_process(name)?;
                self.processes
                    .get(&id)
                    .map(process_info)
                    .ok_or_else(|| Fault::new(FaultCode::BadName, name))
            }
            "getAllProcessInfo" => p.end().map(|()| {
                let mut all: Vec<&Process> = self.processes.values().collect();
                all.sort_by(|a, b| (&a.group, &a.config.name).cmp(&(&b.group, &b.config.name)));
                Value::Array(all.into_iter().map(process_info).collect())
            }),
            "getAllConfigInfo" => p.end().map(|()| self.all_config_info()),
            "startProcess" | "stopProcess" => {
                let (name, wait) = (p.text()?, p.wait()?);
                p.end()?;
                return self.order_one(name, name_is_start(method), wait);
            }
            "startProcessGroup" | "stopProcessGroup" => {
                let (name, wait) = (p.text()?, p.wait()?);
                p.end()?;
                let members = self.group_members(name)?;
                return Ok(self.order_many(&members, name_is_start(method), wait));
            }
            "startAllProcesses" | "stopAllProcesses" => {
                let wait = p.wait()?;
                p.end()?;
                let all = self.all_in_order();
                return Ok(self.order_many(&all, name_is_start(method), wait));
            }
            "signalProcess" => {
                let (name, signal) = (p.text()?, p.signal()?);
                p.end()?;
                match crate::ctl::split_namespec(name) {
                    (group, None) => {
                        let members = self.group_members(group)?;
                        Ok(self.signal_many(&members, signal))
                    }
                    _ => self
                        .find_process(name)
                        .and_then(|id| self.signal_one(id, signal))
                        .map(Value::Bool),
                }
            }
            "signalProcessGroup" => {
                let (name, signal) = (p.text()?, p.signal()?);
                p.end()?;
                self.group_members(name)
                    .map(|members| self.signal_many(&members, signal))
            }
            "signalAllProcesses" => {
                let signal = p.signal()?;
                p.end()?;
                let all = self.all_in_order();
                Ok(self.signal_many(&all, signal))
            }
            "reloadConfig" => p.end().and_then(|()| self.reload()),
            "addProcessGroup" => {
                let name = p.text()?;
                p.end()?;
                self.add_configured_group(name)
            }
            "removeProcessGroup" => {
                let name = p.text()?;
                p.end()?;
                let members = self.group_members(name)?;
                if members
                    .iter()
                    .any(|id| self.processes.get(id).is_some_and(|p| !p.is_at_rest()))
                {
                    return Err(Fault::new(FaultCode::StillRunning, name));
                }
                self.forget_group(name);
                self.notify(Notice::group(name, false));
                Ok(Value::Bool(true))
            }
            "readLog" | "readMainLog" => {
                let (offset, length) = (p.int()?, p.int()?);
                p.end()?;
                read_log(self.settings.logfile.clone(), offset, length)
            }
            "clearLog" => {
                p.end()?;
                let log = self
                    .log
                    .file()
                    .ok_or_else(|| Fault::bare(FaultCode::NoFile))?;
                log.clear()
                    .map(|()| Value::Bool(true))
                    .map_err(|_| Fault::bare(FaultCode::Failed))
            }
            "readProcessLog" | "readProcessStdoutLog" | "readProcessStderrLog" => {
                let (name, offset, length) = (p.text()?, p.int()?, p.int()?);
                p.end()?;
                let path = self.log_path(name, method.contains("Stderr"))?;
                read_log(path, offset, length)
            }
            "tailProcessLog" | "tailProcessStdoutLog" | "tailProcessStderrLog" => {
                let (name, offset, length) = (p.text()?, p.int()?, p.int()?);
                p.end()?;
                let (bytes, offset, overflow) =
                    match self.log_path(name, method.contains("Stderr"))? {
                        Some(path) if path.exists() => logfile::tail(&path, offset, length),
                        _ => (Vec::new(), 0, false),
                    };
                let text = String::from_utf8_lossy(&bytes).into_owned();
                Ok(Value::Array(vec![
                    Value::Text(text),
                    Value::Int(offset),
                    Value::Bool(overflow),
                ]))
            }
            "clearProcessLog" | "clearProcessLogs" => {
                let name = p.text()?;
                p.end()?;
                let id = self.find_process(name)?;
                self.clear_logs(id)
                    .map(|()| Value::Bool(true))
                    .map_err(|_| Fault::new(FaultCode::Failed, name))
            }
            "clearAllProcessLogs" => {
                p.end()?;
                let all = self.all_in_order();
                let mut results = Vec::new();
                for id in all {
                    let outcome = self.clear_logs(id);
                    let name = self
                        .processes
                        .get(&id)
                        .map(Process::namespec)
                        .unwrap_or_default();
                    results.push(self.item(
                        id,
                        Goal::Ordered,
                        outcome.map_err(|_| Fault::new(FaultCode::Failed, name)),
                    ));
                }
                return Ok(Answer::Later(Deferred::Many(results)));
            }
            "sendProcessStdin" => {
                let (name, text) = (p.text()?, p.text()?);
                p.end()?;
                let id = self.find_process(name)?;
                let process = self.processes.get(&id).filter(|p| p.pid() > 0);
                if process.is_none_or(|p| p.state() == ProcessState::Stopping) {
                    return Err(Fault::new(FaultCode::NotRunning, name));
                }
                match self.give(id, text.as_bytes()) {
                    Ok(()) => Ok(Value::Bool(true)),
                    Err(Deaf::Closed) => Err(Fault::new(FaultCode::NoFile, name)),
                    Err(Deaf::Full) => Err(Fault::new(
                        FaultCode::Failed,
                        format!("{name} does not read what it was sent before"),
                    )),
                }
            }
            "sendRemoteCommEvent" => {
                let (kind, data) = (p.text()?, p.text()?);
                p.end()?;
                self.notify(Notice::remote(kind, data));
                Ok(Value::Bool(true))
            }
            "shutdown" => {
                p.end()?;
                self.log.warn("received a request to shut down");
                self.mood = Mood::Shutdown;
                Ok(Value::Bool(true))
            }
            "restart" => {
                p.end()?;
                self.log.warn("received a request to restart");
                self.mood = Mood::Restarting;
                Ok(Value::Bool(true))
            }
            _ => Err(Fault::bare(FaultCode::UnknownMethod)),
        };
        answer.map(Answer::Now)
    }

    fn system_call(&mut self, method: &str, mut p: Parameters<'_>) -> Result<Answer, Fault> {
        let known = |name: &str| {
            METHODS
                .contains(&name)
                .then_some(())
                .ok_or(Fault::bare(FaultCode::SignatureUnsupported))
        };
        match method {
            "listMethods" => {
                p.end()?;
                let mut names = METHODS.to_vec();
                names.sort_unstable();
                Ok(Answer::Now(Value::Array(
                    names.into_iter().map(Value::text).collect(),
                )))
            }
            "methodHelp" => known(p.text()?)
                .map(|()| Answer::Now(Value::text("See supervisord's XML-RPC API."))),
            "methodSignature" => {
                known(p.text()?).and(Err(Fault::bare(FaultCode::SignatureUnsupported)))
            }
            "multicall" => {
                let calls =
                    p.0.next()
                        .and_then(Value::as_array)
                        .ok_or_else(Parameters::wrong)?;
                p.end()?;
                if calls.len() > MAX_CALLS {
                    return Err(Fault::new(
                        FaultCode::BadArguments,
                        format!("more than {MAX_CALLS} calls"),
                    ));
                }
                let left: Option<VecDeque<(String, Vec<Value>)>> = calls
                    .iter()
                    .map(|call| {
                        let method = call.member("methodName")?.as_str()?.to_owned();
                        let parameters = call
                            .member("params")
                            .and_then(Value::as_array)
                            .unwrap_or(&[])
                            .to_vec();
                        // As upstream: a call of itself would recurse without bound.
                        let method = if method == "system.multicall" {
                            "system.recursive".into()
                        } else {
                            method
                        };
                        Some((method, parameters))
                    })
                    .collect();
                let left = left.ok_or_else(Parameters::wrong)?;
                Ok(Answer::Later(Deferred::Calls {
                    left,
                    done: Vec::new(),
                    current: None,
                }))
            }
            _ => Err(Fault::bare(FaultCode::UnknownMethod)),
        }
    }

    fn group_members(&self, name: &str) -> Result<Vec<u64>, Fault> {
        let group = self.groups.iter().find(|g| g.config.name == name);
        group
            .map(|g| g.members.clone())
            .ok_or_else(|| Fault::new(FaultCode::BadName, name))
    }

    fn all_in_order(&self) -> Vec<u64> {
        self.groups.iter().flat_map(|g| g.members.clone()).collect()
    }

    fn order_one(&mut self, name: &str, start: bool, wait: bool) -> Result<Answer, Fault> {
        if let (group, None) = crate::ctl::split_namespec(name) {
            let members = self.group_members(group)?;
            return Ok(self.order_many(&members, start, wait));
        }
        let id = self.find_process(name)?;
        if start {
            self.order_start(id, name)?;
        } else {
            self.order_stop(id, name)?;
        }
        Ok(Answer::Later(Deferred::One(self.item(
            id,
            goal(start, wait),
            Ok(()),
        ))))
    }

    /// Orders what is not yet as wanted. A process that is already stopping is waited for, too:
    /// upstream answers before it has stopped, and removing its group then fails.
    fn order_many(&mut self, members: &[u64], start: bool, wait: bool) -> Answer {
        let mut items = Vec::new();
        for id in members {
            let Some(process) = self.processes.get(id) else {
                continue;
            };
            let (state, name) = (process.state(), process.namespec());
            let ordered = match (start, state) {
                (true, state) if state.is_running() => continue,
                (true, _) => self.order_start(*id, &name),
                (false, ProcessState::Stopping) => Ok(()),
                (false, state) if !state.is_running() => continue,
                (false, _) => self.order_stop(*id, &name),
            };
            items.push(self.item(*id, goal(start, wait), ordered));
        }
        Answer::Later(Deferred::Many(items))
    }

    fn item(&self, id: u64, goal: Goal, ordered: Result<(), Fault>) -> Item {
        let (group, name) = self.processes.get(&id).map_or_else(Default::default, |p| {
            (p.group.clone(), p.config.name.clone())
        });
        Item {
            process: id,
            group,
            name,
            goal,
            outcome: ordered.err().map(Err),
        }
    }

    fn order_start(&mut self, id: u64, name: &str) -> Result<(), Fault> {
        let process = self
            .processes
            .get(&id)
            .ok_or_else(|| Fault::new(FaultCode::BadName, name))?;
        match spawn::executable(&process.config) {
            Ok(_) => {}
            Err(Missing::NoFile(why)) => return Err(Fault::new(FaultCode::NoFile, why)),
            Err(Missing::NotExecutable(why)) => {
                return Err(Fault::new(FaultCode::NotExecutable, why));
            }
        }
        if process.state().is_running() {
            return Err(Fault::new(FaultCode::AlreadyStarted, name));
        }
        if !process.is_at_rest() || self.mood != Mood::Running {
            // It is being stopped: two of it must never run.
            return Err(Fault::new(FaultCode::AbnormalTermination, name));
        }
        self.spawn(id, true);
        match self
            .processes
            .get(&id)
            .and_then(|p| p.machine.spawnerr.as_ref())
        {
            Some(_) => Err(Fault::new(FaultCode::SpawnError, name)),
            None => Ok(()),
        }
    }

    fn order_stop(&mut self, id: u64, name: &str) -> Result<(), Fault> {
        match self.stop(id) {
            Stop::NotRunning => Err(Fault::new(FaultCode::NotRunning, name)),
            Stop::Cancelled | Stop::Signal => Ok(()),
        }
    }

    fn signal_one(&mut self, id: u64, signal: i32) -> Result<bool, Fault> {
        let Some(process) = self.processes.get(&id) else {
            return Ok(true);
        };
        if !process.state().is_signallable() {
            return Err(Fault::new(FaultCode::NotRunning, process.namespec()));
        }
        // As upstream, a process that has just ended is no error: its end is noticed in a moment.
        self.signal(id, signal, false);
        Ok(true)
    }

    fn signal_many(&mut self, members: &[u64], signal: i32) -> Value {
        let mut results = Vec::new();
        for id in members {
            if self
                .processes
                .get(id)
                .is_some_and(|p| p.state().is_signallable())
            {
                let outcome = self.signal_one(*id, signal).map(drop);
                results.push(self.item(*id, Goal::Ordered, outcome).result());
            }
        }
        Value::Array(results)
    }

    fn reload(&mut self) -> Result<Value, Fault> {
        match Config::load(&self.config_path) {
            Ok(config) => self.configured = config.groups,
            Err(error) => {
                self.log.error(format!(
                    "the configuration cannot be used, keeping the last one: {error}"
                ));
                return Err(Fault::new(FaultCode::CantReread, error));
            }
        }
        let difference = self.difference();
        let names = |names: Vec<String>| Value::Array(names.into_iter().map(Value::Text).collect());
        let lists = [difference.added, difference.changed, difference.removed].map(names);
        Ok(Value::Array(vec![Value::Array(lists.into())]))
    }

    fn add_configured_group(&mut self, name: &str) -> Result<Value, Fault> {
        let configured = self.configured.iter().find(|g| g.name == name).cloned();
        let group = configured.ok_or_else(|| Fault::new(FaultCode::BadName, name))?;
        if self.groups.iter().any(|g| g.config.name == name) {
            return Err(Fault::new(FaultCode::AlreadyAdded, name));
        }
        if self.mood != Mood::Running {
            return Err(Fault::bare(FaultCode::ShutdownState));
        }
        self.add_group(group);
        Ok(Value::Bool(true))
    }

    fn log_path(&self, name: &str, stderr: bool) -> Result<Option<PathBuf>, Fault> {
        let id = self.find_process(name)?;
        let log = self
            .processes
            .get(&id)
            .and_then(|p| p.logs[usize::from(stderr)].as_ref());
        Ok(log.map(|l| l.path().to_owned()))
    }

    fn all_config_info(&self) -> Value {
        let mut all = Vec::new();
        for group in &self.configured {
            let inuse = self.groups.iter().any(|g| g.config.name == group.name);
            for program in &group.programs {
                all.push((
                    &program.name,
                    config_info(&group.name, group.priority, inuse, program),
                ));
            }
        }
        all.sort_by_key(|(name, _)| *name);
        Value::Array(all.into_iter().map(|(_, info)| info).collect())
    }
}

fn name_is_start(method: &str) -> bool {
    method.starts_with("supervisor.start")
}

fn goal(start: bool, wait: bool) -> Goal {
    match (wait, start) {
        (false, _) => Goal::Ordered,
        (true, true) => Goal::Started,
        (true, false) => Goal::Stopped,
    }
}

fn read_log(path: Option<PathBuf>, offset: i64, length: i64) -> Result<Value, Fault> {
    let Some(path) = path else {
        return Err(Fault::bare(FaultCode::NoFile));
    };
    match logfile::read(&path, offset, length) {
        Ok(bytes) => Ok(Value::Text(String::from_utf8_lossy(&bytes).into_owned())),
        Err(ReadError::NoFile) => Err(Fault::new(FaultCode::NoFile, path.display())),
        Err(ReadError::BadArguments) => Err(Fault::bare(FaultCode::BadArguments)),
        Err(ReadError::Failed) => Err(Fault::bare(FaultCode::Failed)),
    }
}
