//! Answers that come when processes have reached a state. Nobody else waits meanwhile.

use std::collections::VecDeque;

use crate::fault::{Fault, FaultCode};
use crate::state::ProcessState;
use crate::xmlrpc::{Value, fault_value};

use super::Daemon;
use super::control::Answer;

/// What a call waits for.
#[derive(Debug)]
pub(super) enum Deferred {
    /// One process; the answer is `true`.
    One(Item),
    /// Several; the answer is a list of structs.
    Many(Vec<Item>),
    /// `system.multicall`: its calls one after the other.
    Calls {
        left: VecDeque<(String, Vec<Value>)>,
        done: Vec<Value>,
        current: Option<Box<Deferred>>,
    },
}

/// What is to become of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    Started,
    Stopped,
    /// Nothing is waited for.
    Ordered,
}

/// One process that is waited for.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) process: u64,
    pub(super) group: String,
    pub(super) name: String,
    pub(super) goal: Goal,
    pub(super) outcome: Option<Result<(), Fault>>,
}

impl Item {
    /// The struct that tells its outcome.
    pub(super) fn result(&self) -> Value {
        let (status, description) = match &self.outcome {
            Some(Err(fault)) => (fault.code, fault.text.clone()),
            _ => (FaultCode::Success.code(), "OK".to_owned()),
        };
        Value::Struct(vec![
            ("name".into(), Value::text(&self.name)),
            ("group".into(), Value::text(&self.group)),
            ("status".into(), Value::Int(status.into())),
            ("description".into(), Value::Text(description)),
        ])
    }
}

impl Daemon {
    /// The answer, if its time has come.
    pub(super) fn advance(&mut self, deferred: &mut Deferred) -> Option<Result<Value, Fault>> {
        match deferred {
            Deferred::One(item) => {
                self.look_at(item);
                item.outcome.clone().map(|o| o.map(|()| Value::Bool(true)))
            }
            Deferred::Many(items) => {
                for item in items.iter_mut() {
                    self.look_at(item);
                }
                let done = items.iter().all(|i| i.outcome.is_some());
                done.then(|| Ok(Value::Array(items.iter().map(Item::result).collect())))
            }
            Deferred::Calls {
                left,
                done,
                current,
            } => loop {
                if let Some(waiting) = current {
                    let answer = self.advance(waiting)?;
                    done.push(answer.map_or_else(|f| fault_value(&f), |v| Value::Array(vec![v])));
                    *current = None;
                }
                let Some((method, parameters)) = left.pop_front() else {
                    return Some(Ok(Value::Array(std::mem::take(done))));
                };
                match self.call(&method, &parameters) {
                    Ok(Answer::Now(value)) => done.push(Value::Array(vec![value])),
                    Ok(Answer::Later(waiting)) => *current = Some(Box::new(waiting)),
                    Err(fault) => done.push(fault_value(&fault)),
                }
            },
        }
    }

    fn look_at(&self, item: &mut Item) {
        if item.outcome.is_some() {
            return;
        }
        let name = || crate::ctl::namespec(&item.group, &item.name);
        let Some(process) = self.processes.get(&item.process) else {
            // Removed meanwhile: it has stopped, and it will never start.
            item.outcome = Some(match item.goal {
                Goal::Started => Err(Fault::new(FaultCode::BadName, name())),
                Goal::Stopped | Goal::Ordered => Ok(()),
            });
            return;
        };
        item.outcome = match (item.goal, process.state()) {
            (Goal::Ordered, _) | (Goal::Started, ProcessState::Running) => Some(Ok(())),
            (Goal::Started, ProcessState::Starting) => None,
            (Goal::Started, _) if process.machine.spawnerr.is_some() => {
                Some(Err(Fault::new(FaultCode::SpawnError, name())))
            }
            (Goal::Started, _) => Some(Err(Fault::new(FaultCode::AbnormalTermination, name()))),
            (Goal::Stopped, state) => state.is_stopped().then_some(Ok(())),
        };
    }
}
