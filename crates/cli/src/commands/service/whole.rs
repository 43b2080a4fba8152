//! A whole service for people: its instances as a tree, how each is, why it waits.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value as Json, json};
use slap::serialisation::JSON_KEY;
use slap_client::{Service, ServiceInstance};

use crate::CommandResult;
use crate::args::OutputFormat;
use crate::args::service::ServiceTree;
use crate::failure::{Code, Failure};
use crate::{output, settings};

/// Characters of a report that are shown in a drawing.
const REPORT_CHARS: usize = 100;
/// Deepest level that is drawn.
const DEPTH_MAX: usize = 100;

pub(crate) fn tree(arguments: &ServiceTree) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let title = arguments.title.as_str();
    let Some(service) = cloud.whole_service(title)? else {
        // Whether there is such a one at all, any Master tells.
        cloud.service(&arguments.title)?;
        return Err(Failure::new(
            "This Master does not tell which instances a service consists of.",
        )
        .hint(format!("see its root with `slapos service info {title}`"))
        .code(Code::Failed));
    };
    let asked = arguments.output.unwrap_or(OutputFormat::Table);
    let list: Vec<Json> = service.instances.iter().map(as_json).collect();
    let names = service.instances.iter().map(|instance| &instance.title);
    output::answer(Some(asked), &Json::Array(list), names, || draw(&service))?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(instance: &ServiceInstance) -> Json {
    json!({
        "title": instance.title,
        "reference": instance.reference,
        "requested-by": instance.parent,
        "software-url": instance.release,
        "software-type": instance.software_type,
        "shared": instance.shared,
        "requested-state": instance.state,
        "state": instance.actual,
        "node": instance.node,
        "partition": instance.partition,
        "waiting-reason": instance.waiting,
        "reported": instance.report.text,
        "promises": instance.promises,
        "failing-promises": instance
            .failing
            .iter()
            .map(|(title, message)| json!({"title": title, "message": message}))
            .collect::<Vec<_>>(),
    })
}

/// The tree as lines, each instance below the one that requested it.
pub(super) fn draw(service: &Service) -> String {
    let mut children: BTreeMap<Option<&str>, Vec<&ServiceInstance>> = BTreeMap::new();
    let root = service.instances.first();
    let known: Vec<&str> = service
        .instances
        .iter()
        .map(|instance| instance.reference.as_str())
        .collect();
    for instance in service.instances.iter().skip(1) {
        // Whose requester is not told, or gone, hangs below the root.
        let parent = instance
            .parent
            .as_deref()
            .filter(|parent| known.contains(parent))
            .or(root.map(|root| root.reference.as_str()));
        children.entry(parent).or_default().push(instance);
    }
    let mut rows = Vec::new();
    if let Some(root) = root {
        rows.push((root.title.clone(), root));
        branch(&children, root, "", 0, &mut rows);
    }
    let width = rows
        .iter()
        .map(|(drawn, _)| drawn.chars().count())
        .max()
        .unwrap_or_default();
    let mut lines: Vec<String> = rows
        .iter()
        .map(|(drawn, instance)| {
            let pad = width - drawn.chars().count();
            format!("{drawn}{}  {}", " ".repeat(pad), told(instance))
        })
        .collect();
    if !service.complete {
        lines.push("… and more".to_owned());
    }
    lines.join("\n")
}

fn branch<'a>(
    children: &BTreeMap<Option<&str>, Vec<&'a ServiceInstance>>,
    parent: &ServiceInstance,
    indent: &str,
    depth: usize,
    rows: &mut Vec<(String, &'a ServiceInstance)>,
) {
    let below = children.get(&Some(parent.reference.as_str()));
    let below = below.map(Vec::as_slice).unwrap_or_default();
    for (number, child) in below.iter().enumerate() {
        let (knot, line) = if number + 1 == below.len() {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        rows.push((format!("{indent}{knot}{}", child.title), child));
        if depth < DEPTH_MAX {
            branch(children, child, &format!("{indent}{line}"), depth + 1, rows);
        }
    }
}

/// How an instance is, in a line.
fn told(instance: &ServiceInstance) -> String {
    let mut text = format!("{:<10}", instance.actual);
    if let (Some(node), Some(partition)) = (&instance.node, &instance.partition) {
        text.push_str(&format!(" {node}/{partition}"));
    }
    if instance.shared {
        text.push_str(" shared");
    }
    if let Some(why) = &instance.waiting {
        text.push_str(&format!(" {why}"));
    } else if let Some((title, message)) = instance.failing.first() {
        let said = output::one_line(message, REPORT_CHARS);
        text.push_str(&format!(" promise {title} fails: {said}"));
    } else if instance.actual == "error" {
        let report = instance.report.text.trim_start_matches("#error").trim();
        let line = report.lines().last().unwrap_or_default();
        let short: String = line.chars().take(REPORT_CHARS).collect();
        text.push_str(&format!(" {short}"));
    }
    text.trim_end().to_owned()
}

/// All there is to see of a service.
pub(super) fn readable(service: &Service, show_secrets: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<12} {value}\n"));
    line("Service", &service.title);
    line(
        "State",
        &match service.actual == service.state {
            true => service.actual.clone(),
            false => format!("{} (asked to be {})", service.actual, service.state),
        },
    );
    line("Release", &service.release);
    let root = service.instances.first();
    if let Some(root) = root {
        line("Type", &root.software_type);
    }
    let mut reference = service.reference.clone();
    for (what, value) in [("project", &service.project), ("owner", &service.owner)] {
        if let Some(value) = value {
            reference.push_str(&format!(", {what} {value}"));
        }
    }
    line("Reference", &reference);
    if let Some(at) = service.requested_at {
        line("Requested", &moment(at));
    }
    match &service.upgrade {
        Some((state, release)) if state == "planned" => line(
            "Upgrade",
            &format!(
                "{release} is offered: slapos service upgrade {}",
                service.title
            ),
        ),
        Some((_, release)) => line("Upgrade", &format!("to {release} is under way")),
        None => {}
    }
    if let Some(why) = &service.waiting {
        line("Waits", why);
    }
    if let Some(report) = root
        .map(|root| &root.report)
        .filter(|report| !report.text.is_empty())
    {
        let since = report.since.map(moment).unwrap_or_default();
        line(
            "Reported",
            format!("{}, since {since}", slap::event::reported(&report.text))
                .trim_end_matches(", since "),
        );
    }
    if let Some(promises) = promises(service) {
        line("Promises", &promises);
    }
    if service.instances.len() > 1 {
        text.push_str("\nInstances\n");
        for drawn in draw(service).lines() {
            text.push_str(&format!("  {drawn}\n"));
        }
    } else if let Some(root) = root
        && let (Some(node), Some(partition)) = (&root.node, &root.partition)
    {
        text.push_str(&format!("{:<12} {node}, partition {partition}\n", "Node"));
    }
    if let Some(root) = root {
        let hide = !show_secrets && io::stdout().is_terminal();
        entries(&mut text, "Parameters", &root.parameters, hide);
        if !root.sla.is_empty() {
            entries(&mut text, "Placed where", &root.sla, false);
        }
        entries(&mut text, "Connection parameters", &root.connection, hide);
    }
    text.trim_end().to_owned()
}

/// How the promises of a whole service are, in a line; none where no node told of any.
fn promises(service: &Service) -> Option<String> {
    let count: i64 = service
        .instances
        .iter()
        .filter_map(|instance| instance.promises)
        .sum();
    let failing: Vec<String> = service
        .instances
        .iter()
        .flat_map(|instance| {
            instance.failing.iter().map(|(title, _)| {
                if service.instances.len() > 1 {
                    format!("{title} of {}", instance.title)
                } else {
                    title.clone()
                }
            })
        })
        .collect();
    if count == 0 {
        return None;
    }
    Some(match failing.len() {
        0 => format!("{count}, all well"),
        some => format!(
            "{some} of {count} fail: {} (slapos service promises {})",
            failing.join(", "),
            service.title
        ),
    })
}

fn entries(text: &mut String, head: &str, values: &Map<String, Json>, hide: bool) {
    // JSON under a sole `_` is shown as what it says.
    let inner = match values.get(JSON_KEY).and_then(Json::as_str) {
        Some(inner) if values.len() == 1 => serde_json::from_str::<Map<String, Json>>(inner).ok(),
        _ => None,
    };
    let values = inner.as_ref().unwrap_or(values);
    if values.is_empty() {
        text.push_str(&format!("\n{head}: none\n"));
        return;
    }
    text.push_str(&format!("\n{head}\n"));
    for (name, value) in values {
        let shown = match value {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        };
        let shown = if hide {
            slap::secret::masked(name, &shown)
        } else {
            shown
        };
        text.push_str(&format!("  {name:<20} {shown}\n"));
    }
}

/// A moment in local time.
pub(crate) fn moment(microseconds: i64) -> String {
    Timestamp::from_microsecond(microseconds).map_or_else(
        |_| String::new(),
        |at| {
            at.to_zoned(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use slap_client::Report;

    fn instance(title: &str, number: u8, parent: Option<u8>, actual: &str) -> ServiceInstance {
        let placed = actual != "waiting";
        ServiceInstance {
            title: title.to_owned(),
            reference: format!("SOFTINST-{number}"),
            parent: parent.map(|parent| format!("SOFTINST-{parent}")),
            release: "https://example.com/software.cfg".to_owned(),
            software_type: "default".to_owned(),
            shared: title == "shared",
            state: "started".to_owned(),
            actual: actual.to_owned(),
            report: Report::default(),
            node: placed.then(|| "COMP-1".to_owned()),
            partition: placed.then(|| format!("slappart{number}")),
            waiting: (!placed).then(|| "no node has a free partition".to_owned()),
            parameters: Map::new(),
            sla: Map::new(),
            connection: Map::new(),
            promises: None,
            failing: Vec::new(),
        }
    }

    fn service() -> Service {
        let mut root = instance("blog", 1, None, "started");
        root.parameters = json!({"_": "{\"name\": \"World\", \"admin-password\": \"x\"}"})
            .as_object()
            .cloned()
            .unwrap();
        root.connection = json!({"url": "https://[fd00::1]/"})
            .as_object()
            .cloned()
            .unwrap();
        let mut failed = instance("db", 2, Some(1), "error");
        failed.report.text = "#error while instanciating: Traceback\nno space left".to_owned();
        Service {
            title: "blog".to_owned(),
            reference: "HOSTSUBS-1".to_owned(),
            project: Some("PROJ-1".to_owned()),
            owner: Some("ada".to_owned()),
            release: "https://example.com/software.cfg".to_owned(),
            state: "started".to_owned(),
            actual: "error".to_owned(),
            waiting: Some("no node has a free partition".to_owned()),
            upgrade_policy: Some("ask".to_owned()),
            upgrade: Some((
                "planned".to_owned(),
                "https://example.com/2/software.cfg".to_owned(),
            )),
            requested_at: None,
            instances: vec![
                root,
                failed,
                instance("replica", 3, Some(2), "waiting"),
                instance("shared", 4, Some(1), "started"),
                instance("orphan", 5, Some(77), "stopped"),
            ],
            complete: true,
        }
    }

    #[test]
    fn a_service_is_drawn_with_what_it_requested() {
        insta::assert_snapshot!(draw(&service()), @r"
        blog           started    COMP-1/slappart1
        ├─ db          error      COMP-1/slappart2 no space left
        │  └─ replica  waiting    no node has a free partition
        ├─ shared      started    COMP-1/slappart4 shared
        └─ orphan      stopped    COMP-1/slappart5
        ");
    }

    #[test]
    fn a_service_is_shown_with_all_there_is_to_see() {
        insta::assert_snapshot!(readable(&service(), false), @r"
        Service      blog
        State        error (asked to be started)
        Release      https://example.com/software.cfg
        Type         default
        Reference    HOSTSUBS-1, project PROJ-1, owner ada
        Upgrade      https://example.com/2/software.cfg is offered: slapos service upgrade blog
        Waits        no node has a free partition

        Instances
          blog           started    COMP-1/slappart1
          ├─ db          error      COMP-1/slappart2 no space left
          │  └─ replica  waiting    no node has a free partition
          ├─ shared      started    COMP-1/slappart4 shared
          └─ orphan      stopped    COMP-1/slappart5

        Parameters
          name                 World
          admin-password       x

        Connection parameters
          url                  https://[fd00::1]/
        ");
    }
}
