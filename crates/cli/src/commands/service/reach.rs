//! `slapos service wait|open`: until it is there, and to where it is.

use std::process::{Command, ExitCode, Stdio};

use slap::serialisation::unwrap;
use slap::{InstanceState, ReleaseUrl};
use slap_client::{InstanceTreeInfo, Order, WaitError};

use crate::CommandResult;
use crate::args::service::{ServiceOpen, ServiceWait};
use crate::failure::{Code, Failure};
use crate::progress::Spinner;
use crate::{output, settings};

/// Connection parameters that lead to an instance, the likeliest first.
const ADDRESSES: [&str; 5] = ["url", "frontend-url", "public-url", "backend-url", "url-0"];

pub(crate) fn wait(arguments: &ServiceWait) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let title = &arguments.title;
    let spinner = Spinner::start(&format!("{title}: waiting"));
    let say = |said: &str| spinner.say(&format!("{title}: {said}"));
    if arguments.goal == Some(InstanceState::Destroyed) {
        cloud
            .wait_gone(&cloud.rest(title)?, arguments.timeout, &mut { say })
            .map_err(unready)?;
        drop(spinner);
        output::print(&format!("{title} is gone."))?;
        return Ok(ExitCode::SUCCESS);
    }
    let tree = cloud.service(title)?;
    let wanted = tree.requested_state().unwrap_or(InstanceState::Started);
    if let Some(goal) = arguments.goal.filter(|goal| *goal != wanted) {
        return Err(Failure::new(format!(
            "{title} is asked to be {wanted}: it will not be {goal}"
        ))
        .hint(format!(
            "ask for it: `slapos request {title} … --state {goal}`"
        ))
        .code(Code::Usage));
    }
    // An order that changes nothing.
    let release = ReleaseUrl::new(tree.release).map_err(|error| Failure::of(&error))?;
    let order = Order::new(title.clone(), release);
    cloud
        .wait(&order, arguments.timeout, &mut { say })
        .map_err(unready)?;
    drop(spinner);
    output::print(&format!("{title} is {wanted}."))?;
    Ok(ExitCode::SUCCESS)
}

fn unready(error: WaitError) -> Failure {
    match error {
        WaitError::Client(error) => error.into(),
        WaitError::Timeout { .. } => Failure::of(&error)
            .hint("see how far it is with `slapos service info`")
            .code(Code::Usage),
    }
}

pub(crate) fn open(arguments: &ServiceOpen) -> CommandResult {
    let tree = settings::cloud(&arguments.config)?.service(&arguments.title)?;
    let address = address(&tree, arguments.parameter.as_deref())?;
    output::print(&address)?;
    if arguments.print {
        return Ok(ExitCode::SUCCESS);
    }
    let opened = Command::new("xdg-open")
        .arg(&address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match opened {
        Ok(status) if status.success() => Ok(ExitCode::SUCCESS),
        _ => Err(Failure::new("no browser could be opened (xdg-open)")
            .hint("--print only shows the address")),
    }
}

/// Where an instance says that it is.
fn address(tree: &InstanceTreeInfo, parameter: Option<&str>) -> Result<String, Failure> {
    let title = &tree.title;
    let document = unwrap(&tree.connection);
    let get = |name: &str| -> Option<String> {
        match &document {
            Some(inner) => inner.get(name)?.as_str().map(str::to_owned),
            None => tree.connection.get(name).cloned(),
        }
    };
    if let Some(name) = parameter {
        let value = get(name).ok_or_else(|| {
            Failure::new(format!("{title} has published no `{name}`"))
                .hint(format!(
                    "see what it has with `slapos service info {title}`"
                ))
                .code(Code::Usage)
        })?;
        return is_web(&value).then_some(value).ok_or_else(|| {
            Failure::new(format!("`{name}` of {title} is no http or https address"))
                .code(Code::Usage)
        });
    }
    ADDRESSES
        .iter()
        .filter_map(|name| get(name))
        .find(|value| is_web(value))
        .ok_or_else(|| {
            Failure::new(format!("{title} has published no address yet"))
                .hint(format!(
                    "wait for it with `slapos service wait {title}`, or name a parameter with \
                     --parameter"
                ))
                .code(Code::Usage)
        })
}

/// An instance decides what it publishes: only what a browser shows is given to one.
fn is_web(value: &str) -> bool {
    (value.starts_with("http://") || value.starts_with("https://"))
        && !value.contains(|character: char| character.is_whitespace() || character.is_control())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    fn tree(connection: &[(&str, &str)]) -> InstanceTreeInfo {
        InstanceTreeInfo {
            title: "t".into(),
            reference: "t".into(),
            release: "http://x/y.cfg".into(),
            software_type: "default".into(),
            state: "started".into(),
            shared: false,
            parameters: BTreeMap::new(),
            connection: connection
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            news: None,
        }
    }

    #[test]
    fn only_web_addresses_are_opened() {
        let plain = tree(&[
            ("url", "https://[fd00::1]:8443/"),
            ("other", "file:///etc/passwd"),
        ]);
        assert_eq!(address(&plain, None).unwrap(), "https://[fd00::1]:8443/");
        assert!(address(&plain, Some("other")).is_err());
        assert!(address(&plain, Some("missing")).is_err());
        let json = tree(&[("_", r#"{"url": "--help", "backend-url": "http://b/"}"#)]);
        assert_eq!(address(&json, None).unwrap(), "http://b/");
        assert!(address(&tree(&[("url", "http://a b")]), None).is_err());
    }
}
