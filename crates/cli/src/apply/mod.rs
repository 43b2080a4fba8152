//! `slapos apply`: a file says what there shall be; what is different is shown, asked about, and
//! requested.

mod file;
mod plan;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value as Json, json};
use slap::{InstallationState, NodeId, SoftwareType};
use slap_client::release::Metadata;
use slap_client::{Cloud, Error, RequestReply, WaitError};

use crate::args::OutputFormat;
use crate::args::apply::Apply;
use crate::enrol::dialog;
use crate::failure::{Code, Failure};
use crate::progress::Spinner;
use crate::{CommandResult, output, settings};
use file::{Service, Supply};
use plan::{Act, Call, Held, Parameters, Step};

pub(crate) fn run(arguments: &Apply) -> CommandResult {
    let wanted = file::read(&arguments.file)?;
    let cloud = settings::cloud(&arguments.config)?;
    let steps = compare(&cloud, &wanted, &arguments.file)?;
    let todo: Vec<&Step> = steps.iter().filter(|step| step.act != Act::Keep).collect();
    show(&steps, arguments.output)?;
    if todo.is_empty() || arguments.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.yes {
        let question = match todo.len() {
            1 => "Do this?".to_owned(),
            many => format!("Do these {many}?"),
        };
        match dialog::confirm(&question)? {
            Some(true) => {}
            Some(false) => return Err(Failure::new("nothing was done")),
            None => {
                return Err(Failure::new("nobody is there to say yes; nothing was done")
                    .hint("--yes says it, --dry-run only shows the difference")
                    .code(Code::Usage));
            }
        }
    }
    for (done, step) in todo.iter().enumerate() {
        perform(&cloud, step).map_err(|failure| unfinished(failure, step, done, todo.len()))?;
    }
    if arguments.wait {
        for step in &todo {
            wait(&cloud, step, arguments)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn unfinished(failure: Failure, step: &Step, done: usize, all: usize) -> Failure {
    failure.about(&format!(
        "{} ({done} of {all} are done; applied again, the rest is)",
        step.name()
    ))
}

/// Everything the file names beside what the Master holds. Nothing is changed.
fn compare(cloud: &Cloud, wanted: &file::Wanted, path: &Path) -> Result<Vec<Step>, Failure> {
    let mut nodes: BTreeMap<NodeId, BTreeMap<String, InstallationState>> = BTreeMap::new();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for supply in &wanted.supplies {
        let step = supply_step(cloud, supply, path, &mut nodes)?;
        // Software is there before its services, and goes after them.
        match supply.state {
            InstallationState::Available => first.push(step),
            InstallationState::Destroyed => last.push(step),
        }
    }
    for service in &wanted.services {
        first.push(service_step(cloud, service, path)?);
    }
    first.append(&mut last);
    Ok(first)
}

fn supply_step(
    cloud: &Cloud,
    supply: &Supply,
    path: &Path,
    nodes: &mut BTreeMap<NodeId, BTreeMap<String, InstallationState>>,
) -> Result<Step, Failure> {
    let release = cloud.release(&file::beside(path, &supply.release))?;
    if !nodes.contains_key(&supply.node) {
        let document = cloud.client().node(&supply.node).map_err(|error| {
            if error.is_not_found() {
                Failure::new(format!("Computer {} does not exist.", supply.node))
                    .hint("see the nodes there are with `slapos computer list`")
                    .code(Code::Usage)
            } else {
                Failure::from(error)
            }
        })?;
        let held = document
            .installations
            .iter()
            .filter_map(|one| Some((one.release.to_string(), one.state?)))
            .collect();
        nodes.insert(supply.node.clone(), held);
    }
    let held = nodes
        .get(&supply.node)
        .and_then(|node| node.get(release.as_str()))
        .copied();
    Ok(plan::supply(
        release,
        supply.node.clone(),
        supply.state,
        held,
    ))
}

fn service_step(cloud: &Cloud, service: &Service, path: &Path) -> Result<Step, Failure> {
    let release = cloud.release(&file::beside(path, &service.release))?;
    let held = match cloud.known(&service.title)? {
        Some(tree) => {
            let sla = match &service.sla {
                Some(_) => sla(cloud, service)?,
                None => None,
            };
            Some(Held { tree, sla })
        }
        None => None,
    };
    let software_type = service.software_type.clone().or_else(|| {
        let held = held.as_ref()?;
        held.tree.software_type.parse().ok()
    });
    let software_type = software_type.unwrap_or_default();
    let parameters = match &service.parameters {
        Some(values) => Some(parameters(
            service,
            release.as_str(),
            &software_type,
            values,
        )?),
        None => None,
    };
    Ok(plan::service(service, release, parameters, held.as_ref()))
}

/// Where the instance may be, as the Master holds it; `None` where it does not tell.
fn sla(cloud: &Cloud, service: &Service) -> Result<Option<BTreeMap<String, String>>, Failure> {
    let input = json!({"title": service.title.as_str()});
    let Some(tree) = cloud
        .client()
        .json("slapos.get.v0.instance_tree_detail", &input)?
    else {
        return Ok(None);
    };
    let told = tree["instance_list"][0]["sla_parameters"].as_object();
    Ok(told.map(|told| {
        told.iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect()
    }))
}

/// The parameters as the release wants them; what its schema does not take is refused here.
fn parameters(
    service: &Service,
    release: &str,
    software_type: &SoftwareType,
    values: &Map<String, Json>,
) -> Result<Parameters, Failure> {
    let unusable = |error: &dyn std::error::Error| {
        tracing::warn!(
            "service {}: {error}; parameters are not checked",
            service.title
        );
    };
    let metadata = match Metadata::of_release(release) {
        Ok(metadata) => metadata,
        Err(error) => {
            unusable(&error);
            None
        }
    };
    let told = service.serialisation.or_else(|| {
        let metadata = metadata.as_ref()?;
        Some(metadata.serialisation(software_type))
    });
    let parameters = Parameters::new(values, told);
    let schema = metadata
        .map(|metadata| metadata.schema(software_type, service.shared.unwrap_or_default()))
        .transpose()
        .unwrap_or_else(|error| {
            unusable(&error);
            None
        })
        .flatten();
    if let Some(schema) = schema {
        let typed = match parameters.serialisation {
            slap::serialisation::Serialisation::Xml => schema.typed(&parameters.values),
            slap::serialisation::Serialisation::JsonInXml => parameters.values.clone(),
        };
        match schema.mistakes(&Json::Object(typed)) {
            Ok(mistakes) => {
                if let Some(mistake) = mistakes.first() {
                    let more = match mistakes.len() {
                        1 => String::new(),
                        many => format!(" (and {} more)", many - 1),
                    };
                    return Err(Failure::new(format!(
                        "service `{}`: parameters{}: {}{more}",
                        service.title,
                        mistake.path.trim_start_matches('$'),
                        mistake.text
                    ))
                    .hint(format!("they are described by {}", schema.place()))
                    .code(Code::Usage));
                }
            }
            Err(error) => unusable(&error),
        }
    }
    Ok(parameters)
}

fn show(steps: &[Step], asked: Option<OutputFormat>) -> Result<(), Failure> {
    let value = Json::Array(steps.iter().map(Step::as_json).collect());
    let names = steps
        .iter()
        .filter(|step| step.act != Act::Keep)
        .map(Step::name);
    output::answer(asked, &value, names, || readable(steps))
}

/// The difference for people: `+` is new, `~` changes, `-` goes.
fn readable(steps: &[Step]) -> String {
    let mut lines = Vec::new();
    let off = output::stdout_style("\x1b[0m");
    for step in steps {
        let (sign, color) = match step.act {
            Act::Keep => continue,
            Act::Create => ("+", output::stdout_style("\x1b[32m")),
            Act::Change => ("~", output::stdout_style("\x1b[33m")),
            Act::Destroy => ("-", output::stdout_style("\x1b[31m")),
        };
        lines.push(format!("{color}{sign} {}{off}", step.name()));
        let width = step
            .changes
            .iter()
            .map(|change| change.what.chars().count());
        let width = width.max().unwrap_or_default();
        for change in &step.changes {
            let what = format!("{:width$}", change.what);
            lines.push(match (&change.from, &change.to) {
                (None, Some(to)) => format!("    {what}  {to}"),
                (Some(from), None) => format!("    {what}  {from} is removed"),
                (from, to) => format!(
                    "    {what}  {} → {}",
                    from.as_deref().unwrap_or_default(),
                    to.as_deref().unwrap_or_default()
                ),
            });
        }
    }
    let count = |act: Act| steps.iter().filter(|step| step.act == act).count();
    let kept = match count(Act::Keep) {
        0 => String::new(),
        1 => "; 1 is as it shall be".to_owned(),
        many => format!("; {many} are as they shall be"),
    };
    if lines.is_empty() {
        return format!("Nothing to do{kept}.");
    }
    lines.push(format!(
        "{} to create, {} to change, {} to destroy{kept}.",
        count(Act::Create),
        count(Act::Change),
        count(Act::Destroy)
    ));
    lines.join("\n")
}

fn perform(cloud: &Cloud, step: &Step) -> Result<(), Failure> {
    match &step.call {
        Call::Request(order) => match cloud.request(order) {
            Ok(RequestReply::NotReady { why }) if step.act != Act::Destroy && !why.is_empty() => {
                tracing::info!("{}: requested; not ready yet: {why}", step.name());
                Ok(())
            }
            Ok(_) => {
                tracing::info!("{}: requested", step.name());
                Ok(())
            }
            Err(error @ Error::NotFound { .. }) => Err(Failure::from(error)
                .hint("free a partition, or choose another node with sla.computer_guid")),
            Err(error) => Err(error.into()),
        },
        Call::Supply(release, node, state) => {
            cloud.supply(release, node, *state)?;
            tracing::info!("{}: requested", step.name());
            Ok(())
        }
    }
}

fn wait(cloud: &Cloud, step: &Step, arguments: &Apply) -> Result<(), Failure> {
    let Call::Request(order) = &step.call else {
        return Ok(());
    };
    let spinner = Spinner::start(&format!("{}: requested", order.title));
    let mut say = |said: &str| spinner.say(&format!("{}: {said}", order.title));
    match cloud.wait(order, arguments.timeout, &mut say) {
        Ok(_) => Ok(()),
        Err(WaitError::Client(error)) => Err(error.into()),
        Err(error @ WaitError::Timeout { .. }) => Err(Failure::of(&error)
            .hint("it goes on all the same: apply again with --wait, or look at the node's log")
            .code(Code::Usage)),
    }
}
