//! `slapos node usage`: what the partitions of this machine use, as the kernel counts it.

use std::process::ExitCode;

use node::NodeConfig;
use node::cgroup::{self, PartitionUsage};
use serde_json::{Value as Json, json};

use crate::CommandResult;
use crate::args::OutputFormat;
use crate::failure::Failure;
use crate::output;

pub(super) fn run(config: &NodeConfig, asked: Option<OutputFormat>) -> CommandResult {
    let hierarchy = config.cgroups.as_ref().ok_or_else(|| {
        Failure::new("what partitions use is not counted on this machine").hint(
            "it needs root, a kernel with cgroup v2 mounted, and `cgroups` not turned off in slapos.cfg",
        )
    })?;
    let usages = cgroup::usages(hierarchy).map_err(|error| Failure::of(&error))?;
    let list = Json::Array(usages.iter().map(as_json).collect());
    let names: Vec<String> = usages.iter().map(partition).collect();
    output::answer(asked, &list, &names, || {
        if usages.is_empty() {
            return "Nothing was started in a partition yet.".to_owned();
        }
        let rows = usages.iter().map(|usage| {
            let counted = &usage.usage;
            [
                partition(usage),
                counted
                    .cpu
                    .map_or_else(unknown, |time| format!("{:.1} s", time.as_secs_f64())),
                counted.memory.map_or_else(unknown, bytes),
                counted.memory_peak.map_or_else(unknown, bytes),
                counted.tasks.map_or_else(unknown, |n| n.to_string()),
                counted
                    .out_of_memory
                    .map_or_else(unknown, |n| n.to_string()),
            ]
        });
        output::table(
            &["PARTITION", "CPU", "MEMORY", "PEAK", "TASKS", "OOM KILLS"],
            rows,
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn partition(usage: &PartitionUsage) -> String {
    let name = usage.directory.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn as_json(usage: &PartitionUsage) -> Json {
    let counted = &usage.usage;
    json!({
        "partition": partition(usage),
        "user": usage.user,
        "cpu_seconds": counted.cpu.map(|time| time.as_secs_f64()),
        "memory_bytes": counted.memory,
        "memory_peak_bytes": counted.memory_peak,
        "tasks": counted.tasks,
        "out_of_memory_kills": counted.out_of_memory,
    })
}

/// What the kernel of this machine does not count.
fn unknown() -> String {
    "-".to_owned()
}

fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}
