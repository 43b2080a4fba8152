//! `slapos service start|stop|destroy|rename|upgrade`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use slap::{InstanceState, InstanceTitle, ReleaseUrl};
use slap_client::{Cloud, Order, RequestReply, Service, UpgradeAnswer, WaitError, Watch};

use crate::CommandResult;
use crate::args::service::{ServiceChange, ServiceDestroy, ServiceRename, ServiceUpgrade, Waiting};
use crate::commands::supply;
use crate::enrol::dialog::confirm;
use crate::failure::{Code, Failure};
use crate::progress::Spinner;
use crate::{output, settings};

/// What is not told is looked for as often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

pub(crate) fn start(arguments: &ServiceChange) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    all(
        &cloud,
        &arguments.titles,
        &arguments.waiting,
        InstanceState::Started,
    )
}

pub(crate) fn stop(arguments: &ServiceChange) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    all(
        &cloud,
        &arguments.titles,
        &arguments.waiting,
        InstanceState::Stopped,
    )
}

pub(crate) fn destroy(arguments: &ServiceDestroy) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let titles: Vec<&str> = arguments.titles.iter().map(InstanceTitle::as_str).collect();
    // Nothing is destroyed before all of them are found.
    for title in &arguments.titles {
        cloud.service(title)?;
    }
    if !arguments.yes {
        let question = format!("Destroy {} and all that is in it?", titles.join(", "));
        match confirm(&question)? {
            Some(true) => {}
            Some(false) => return Err(Failure::new("Nothing was destroyed.")),
            None => {
                return Err(Failure::new("Nobody is there to confirm the destruction.")
                    .hint("add --yes")
                    .code(Code::Usage));
            }
        }
    }
    all(
        &cloud,
        &arguments.titles,
        &arguments.waiting,
        InstanceState::Destroyed,
    )
}

/// Asks for a state of each; the first that fails ends it, and those before it are as they were asked.
fn all(
    cloud: &Cloud,
    titles: &[InstanceTitle],
    waiting: &Waiting,
    state: InstanceState,
) -> CommandResult {
    let mut orders = Vec::with_capacity(titles.len());
    for title in titles {
        let known = cloud.service(title)?;
        let release = ReleaseUrl::new(known.release).map_err(|error| Failure::of(&error))?;
        orders.push(Order {
            state: Some(state),
            ..Order::new(title.clone(), release)
        });
    }
    for order in &orders {
        carry_out(cloud, order, waiting, &state.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends an order, and waits if told so; says what became of it.
fn carry_out(cloud: &Cloud, order: &Order, waiting: &Waiting, what: &str) -> Result<(), Failure> {
    let title = &order.title;
    if waiting.wait {
        let spinner = Spinner::start(&format!("{title}: asked to be {what}"));
        let say = |said: &str| spinner.say(&format!("{title}: {said}"));
        cloud
            .wait(order, waiting.timeout, &mut { say })
            .map_err(|error| match error {
                WaitError::Client(error) => error.into(),
                WaitError::Timeout { .. } => late(&error),
            })?;
        drop(spinner);
        return output::print(&format!("{title} is {what}."));
    }
    match cloud.request(order)? {
        RequestReply::NotReady { why }
            if !why.is_empty() && order.state != Some(InstanceState::Destroyed) =>
        {
            output::print(&format!("{title} is asked to be {what}: {why}"))
        }
        _ => output::print(&format!("{title} is asked to be {what}.")),
    }
}

fn late(error: &WaitError) -> Failure {
    Failure::of(error)
        .hint("it goes on all the same: see how far it is with `slapos service info`")
        .code(Code::Usage)
}

pub(crate) fn rename(arguments: &ServiceRename) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let (old, new) = (arguments.old.as_str(), arguments.new.as_str());
    if cloud.rename(old, new)?.is_none() {
        return Err(Failure::new(
            "This Master cannot be asked to rename an instance.",
        ));
    }
    output::print(&format!("{old} is called {new} now."))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn upgrade(arguments: &ServiceUpgrade) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let title = &arguments.title;
    let known = cloud.service(title)?;
    if let Some(name) = &arguments.release {
        let release = supply::release(&cloud, name)?;
        return retarget(&cloud, arguments, &known.release, release);
    }
    let whole = cloud.whole_service(title.as_str())?;
    match whole.and_then(|service| service.upgrade) {
        Some((state, release)) => {
            if state == "planned" {
                cloud
                    .client()
                    .answer_upgrade(title.as_str(), UpgradeAnswer::Accept)?;
            }
            output::print(&format!("{title} is being upgraded to {release}."))?;
            if arguments.waiting.wait {
                until_upgraded(&cloud, title, &release, arguments.waiting.timeout)?;
                output::print(&format!("{title} is started with {release}."))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let present =
                ReleaseUrl::new(known.release.clone()).map_err(|error| Failure::of(&error))?;
            let best = cloud
                .client()
                .sibling_releases(&present)
                .unwrap_or_default()
                .into_iter()
                .next();
            match best {
                Some(best) => retarget(&cloud, arguments, &known.release, best),
                None => Err(Failure::new(format!(
                    "{present} belongs to no product of the Master."
                ))
                .hint(format!(
                    "name the release: slapos service upgrade {title} URL"
                ))
                .code(Code::Usage)),
            }
        }
    }
}

fn retarget(
    cloud: &Cloud,
    arguments: &ServiceUpgrade,
    present: &str,
    release: ReleaseUrl,
) -> CommandResult {
    let title = &arguments.title;
    if release.as_str() == present {
        output::print(&format!("{title} has {release} already: nothing to do."))?;
        return Ok(ExitCode::SUCCESS);
    }
    let order = Order::new(title.clone(), release);
    let release = order.release.to_string();
    if arguments.waiting.wait {
        carry_out(cloud, &order, &arguments.waiting, "started")?;
    } else {
        cloud.request(&order)?;
    }
    // Who asks for the release that an upgrade replaced does not go back.
    let held = cloud.service(title)?.release;
    if held != release {
        return Err(Failure::new(format!(
            "{title} keeps {held}: the Master does not go back to what an upgrade replaced."
        )));
    }
    output::print(&format!("{title} is asked to have {release}."))?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until an accepted upgrade is carried out, and the node has done what it means.
fn until_upgraded(
    cloud: &Cloud,
    title: &InstanceTitle,
    release: &str,
    timeout: Duration,
) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout;
    let spinner = Spinner::start(&format!("{title}: being upgraded"));
    let mut changes = cloud.changes(Watch::Tree(title.to_string()), LOOK_AGAIN);
    loop {
        let said = match cloud.whole_service(title.as_str()) {
            Ok(Some(service)) if is_done(&service, release) => return Ok(()),
            Ok(Some(service)) if service.release == release => service.actual,
            Ok(_) => "waiting for the node to have the release".to_owned(),
            Err(error) if error.is_master_unreachable() => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        spinner.say(&format!("{title}: {said}"));
        let now = Instant::now();
        if now >= deadline {
            return Err(late(&WaitError::Timeout {
                title: title.to_string(),
                after: timeout,
                said,
            }));
        }
        changes.wait(deadline - now);
    }
}

fn is_done(service: &Service, release: &str) -> bool {
    let root = service.instances.first();
    service.release == release && root.is_some_and(|root| root.actual == root.state)
}
