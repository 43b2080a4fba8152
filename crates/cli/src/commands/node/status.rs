//! `slapos node status`: what the agent does and why, and how the services are.

use std::process::ExitCode;
use std::time::Duration;

use indicatif::HumanDuration;
use node::NodeConfig;
use node::agent::{self, AgentStatus, TaskStatus};
use serde_json::{Value as Json, json};
use supervisor::client::ProcessInfo;
use supervisor::ctl;

use crate::CommandResult;
use crate::args::node::Status;
use crate::failure::Failure;
use crate::output;

pub(super) fn run(config: &NodeConfig, asked: &Status) -> CommandResult {
    let agent = agent::agent_status(config).map_err(|error| {
        Failure::new(format!("the agent does not say what it does: {error}"))
            .hint("only its own user and root may ask; its log says more")
    })?;
    let client = node::supervisor(config)?;
    let services: Vec<ProcessInfo> = client
        .all_process_info()
        .map_err(|error| Failure::of(&error))?
        .into_iter()
        .filter(|process| is_asked(process, &asked.names))
        .collect();
    let value = json!({
        "agent": agent.as_ref().map(|agent| serde_json::to_value(agent).unwrap_or_default()),
        "services": services.iter().map(as_json).collect::<Vec<_>>(),
    });
    let names: Vec<String> = services.iter().map(ProcessInfo::namespec).collect();
    output::answer(asked.output, &value, &names, || {
        let listed = ctl::run(&client, &["status"]);
        format!("{}\n\n{}", readable(agent.as_ref()), listed.text.trim_end())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Whether a service is one of those named, as supervisorctl names them.
fn is_asked(process: &ProcessInfo, names: &[String]) -> bool {
    names.is_empty()
        || names.iter().any(|name| {
            name == "all"
                || *name == process.namespec()
                || name.strip_suffix(":*").or(name.strip_suffix(':')) == Some(&process.group)
        })
}

fn as_json(process: &ProcessInfo) -> Json {
    json!({
        "name": process.namespec(),
        "state": process.state.name(),
        "pid": (process.pid != 0).then_some(process.pid),
        "description": process.description,
    })
}

fn readable(agent: Option<&AgentStatus>) -> String {
    let Some(agent) = agent else {
        return "No agent runs; `slapos node agent` starts one.".to_owned();
    };
    let mut text = format!(
        "The agent (pid {}) runs for {}. ",
        agent.pid,
        time(agent.seconds)
    );
    let url = &agent.master.url;
    text += &match agent.master.state.as_str() {
        "events" => format!("The Master {url} tells it of changes."),
        "away" => format!(
            "The Master {url} is away; it is asked again in {}.",
            time(agent.master.next_seconds)
        ),
        _ => format!(
            "The Master {url} is asked again in {}.",
            time(agent.master.next_seconds)
        ),
    };
    if let Some(trouble) = &agent.master.trouble {
        text += &format!("\n  {trouble}");
    }
    let rows = agent.tasks.iter().map(|task| {
        [
            task.task.clone(),
            state(task),
            task.why.clone(),
            task.trouble.clone().unwrap_or_default(),
        ]
    });
    text + "\n\n" + &output::table(&["TASK", "STATE", "WHY", "TROUBLE"], rows)
}

/// Where a task stands, in a few words.
fn state(task: &TaskStatus) -> String {
    let failed = match task.failures {
        0 => String::new(),
        1 => ", failed once".to_owned(),
        times => format!(", failed {times} times"),
    };
    let state = match (task.running_seconds, &task.waits_for, task.due_seconds) {
        (Some(seconds), ..) => format!("runs for {}", time(seconds)),
        (_, Some(what), _) => format!("waits for {what}"),
        (_, _, Some(0)) => "due".to_owned(),
        (_, _, Some(seconds)) => format!("in {}", time(seconds)),
        _ => "done".to_owned(),
    };
    state + &failed
}

fn time(seconds: u64) -> String {
    HumanDuration(Duration::from_secs(seconds)).to_string()
}
