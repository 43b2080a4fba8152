//! `slapos login`, `logout` and `context`: several Masters, each under a name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use slap_client::{Client, Error, Settings};
use x509_parser::pem::parse_x509_pem;

use super::configure::{self, Replace};
use crate::args::contexts::{Context, ContextList, ContextShow, Login, Logout};
use crate::args::enrol::{Access, Proof};
use crate::enrol::dialog;
use crate::failure::{Code, Failure};
use crate::{CommandResult, contexts, output, settings};

pub(super) fn run(command: Context) -> CommandResult {
    match command {
        Context::List(arguments) => list(&arguments),
        Context::Use(arguments) => {
            contexts::known(&arguments.context)?;
            chosen(&arguments.context)?;
            Ok(ExitCode::SUCCESS)
        }
        Context::Show(arguments) => show(&arguments),
        Context::Remove(arguments) => remove(&arguments.context, arguments.yes),
    }
}

/// Makes a context the current one, and says so.
fn chosen(name: &str) -> Result<(), Failure> {
    contexts::set_current(name)?;
    let described = Described::read(name);
    tracing::info!("`{name}` is the current context: {}", described.master());
    for variable in ["SLAPOS_CONTEXT", "SLAPOS_CLIENT_CONFIGURATION"] {
        if std::env::var_os(variable).is_some_and(|value| !value.is_empty()) {
            tracing::warn!("${variable} is set and counts before it");
        }
    }
    Ok(())
}

pub(super) fn login(arguments: &Login) -> CommandResult {
    let target = arguments.target.as_deref();
    match target {
        Some(url) if url.contains("://") => match known_master(arguments, url) {
            Some(name) => renew(arguments, &name),
            None => first_time(arguments, url),
        },
        Some(name) => {
            if let Some(other) = &arguments.context {
                return Err(
                    Failure::new(format!("`{name}` and `{other}` are two contexts"))
                        .hint("give the Master's URL for a new context, or one name for an old one")
                        .code(Code::Usage),
                );
            }
            let missing = !contexts::exists(name) && name.contains(['.', ':']);
            contexts::known(name).map_err(|failure| {
                if missing {
                    failure.hint(format!("a URL begins with https://, as in https://{name}"))
                } else {
                    failure
                }
            })?;
            renew(arguments, name)
        }
        None => {
            let name = arguments
                .context
                .clone()
                .or_else(|| contexts::asked(None))
                .unwrap_or_else(contexts::current);
            if !contexts::exists(&name) {
                return Err(Failure::new("which Master?")
                    .hint("give its URL: slapos login https://slapos.example.com:8443")
                    .code(Code::Usage));
            }
            renew(arguments, &name)
        }
    }
}

/// The context of this Master, unless another name is wanted.
fn known_master(arguments: &Login, url: &str) -> Option<String> {
    if let Some(name) = &arguments.context {
        return contexts::exists(name)
            .then(|| Described::read(name))
            .filter(|described| described.is_of(url))
            .map(|described| described.name);
    }
    contexts::names()
        .into_iter()
        .map(|name| Described::read(&name))
        .find(|described| described.is_of(url))
        .map(|described| described.name)
}

/// A Master that is in no context yet.
fn first_time(arguments: &Login, url: &str) -> CommandResult {
    let name = match &arguments.context {
        Some(name) => name.clone(),
        None if contexts::names().is_empty() => contexts::DEFAULT.to_owned(),
        None => free_name(url),
    };
    contexts::check_name(&name)?;
    let file = contexts::file(&name);
    if fs::symlink_metadata(&file).is_ok() {
        return Err(Failure::new(format!(
            "the context `{name}` is of another Master, {}",
            Described::read(&name).master()
        ))
        .hint(format!(
            "give another name with --context, or remove it: slapos context remove {name}"
        )));
    }
    let asks_nobody = url.starts_with("http://")
        && match Client::new(Settings::new(url)).and_then(|client| client.is_known()) {
            Ok(()) => true,
            Err(Error::Refused {
                status: 401 | 403, ..
            }) => false,
            Err(error) => return Err(error.into()),
        };
    if asks_nobody {
        let master_url = Client::new(Settings::new(url))?.master_url().to_owned();
        configure::without_identity(&master_url, &file)?;
    } else {
        let access = Access {
            master_url: Some(url.to_owned()),
            master_url_web: arguments.master_url_web.clone(),
            proof: arguments.proof.clone(),
        };
        configure::enrol(&access, &file, Replace::WithAYes)?;
    }
    welcome(&name)
}

/// A name that is free, made of the Master's host.
fn free_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let clean: String = authority
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let clean = clean.trim_matches(['-', '.']);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains([':', ']']) && !port.is_empty() => host,
        _ => clean,
    };
    if contexts::check_name(host).is_ok() && !contexts::exists(host) {
        host.to_owned()
    } else {
        clean.to_owned()
    }
}

/// A new certificate for a context there is. Its configuration stays: it may be edited by hand.
fn renew(arguments: &Login, name: &str) -> CommandResult {
    let file = contexts::file(name);
    let described = Described::read(name);
    let url = described.url.clone().ok_or_else(|| {
        Failure::new(format!("{} names no Master", file.display()))
            .hint(format!("remove it with `slapos context remove {name}`"))
    })?;
    let directory = contexts::directory(name);
    let (key, certificate) = configure::credentials(&directory);
    match (&described.key, &described.certificate) {
        (None, None) if url.starts_with("http://") => {
            tracing::info!("the Master at {url} asks nobody who they are");
            return welcome(name);
        }
        (Some(its_key), Some(its_certificate))
            if *its_key == key && *its_certificate == certificate => {}
        _ => {
            return Err(Failure::new(format!(
                "{} has its key and certificate elsewhere",
                file.display()
            ))
            .hint("replace it as a whole with `slapos configure client --force`"));
        }
    }
    let proof = Proof {
        // The Master is who it was.
        master_ca_file: match (&arguments.proof.fingerprint, arguments.proof.insecure) {
            (None, false) => arguments
                .proof
                .master_ca_file
                .clone()
                .or_else(|| described.authority.clone()),
            _ => arguments.proof.master_ca_file.clone(),
        },
        insecure: arguments.proof.insecure || described.believes_anybody,
        ..arguments.proof.clone()
    };
    let access = Access {
        master_url: Some(url),
        master_url_web: arguments.master_url_web.clone(),
        proof,
    };
    configure::enrol(&access, &file, Replace::Credentials)?;
    welcome(name)
}

fn welcome(name: &str) -> CommandResult {
    chosen(name)?;
    tracing::info!("next: `slapos service list`, `slapos computer list`, `slapos console`");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn logout(arguments: &Logout) -> CommandResult {
    let name = arguments
        .context
        .clone()
        .or_else(|| contexts::asked(None))
        .unwrap_or_else(contexts::current);
    contexts::known(&name)?;
    let described = Described::read(&name);
    let directory = contexts::directory(&name);
    let (key, _) = configure::credentials(&directory);
    if fs::symlink_metadata(&key).is_err() {
        tracing::info!("the context `{name}` has no key");
        return Ok(ExitCode::SUCCESS);
    }
    sure(
        &format!("Remove the key and the certificate of `{name}`?"),
        arguments.yes,
    )?;
    configure::forget(&directory, false)?;
    tracing::info!(
        "key and certificate of `{name}` are removed; `slapos login {name}` gets new ones"
    );
    if let Some(who) = described.who {
        tracing::info!(
            "a copy of them stays good until an administrator of the Master says `slapos master \
             certificate revoke '{who}'`"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks for a yes; without anybody to ask, nothing is done.
fn sure(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    match dialog::confirm(question)? {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new("nothing was done")),
        None => Err(Failure::new("nobody is there to say yes")
            .hint("--yes says it")
            .code(Code::Usage)),
    }
}

fn remove(name: &str, yes: bool) -> CommandResult {
    contexts::known(name)?;
    sure(
        &format!("Remove the context `{name}` with its configuration, key and certificate?"),
        yes,
    )?;
    let directory = contexts::directory(name);
    configure::forget(&directory, true)?;
    if name != contexts::DEFAULT {
        // Something of somebody else's may be in it.
        let _ = fs::remove_dir(&directory);
    }
    tracing::info!("the context `{name}` is removed");
    if contexts::current() == name {
        contexts::set_current(contexts::DEFAULT)?;
        if contexts::exists(contexts::DEFAULT) {
            tracing::info!("`{}` is the current context", contexts::DEFAULT);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is known of a context without asking its Master.
struct Described {
    name: String,
    url: Option<String>,
    key: Option<PathBuf>,
    certificate: Option<PathBuf>,
    authority: Option<PathBuf>,
    believes_anybody: bool,
    /// The common name of the certificate.
    who: Option<String>,
    /// Until when it is good.
    expires: Option<Timestamp>,
    /// Why the configuration cannot be read.
    trouble: Option<String>,
}

impl Described {
    fn read(name: &str) -> Described {
        let mut described = Described {
            name: name.to_owned(),
            url: None,
            key: None,
            certificate: None,
            authority: None,
            believes_anybody: false,
            who: None,
            expires: None,
            trouble: None,
        };
        let config = match settings::read(&contexts::file(name)) {
            Ok(config) => config,
            Err(failure) => {
                described.trouble = Some(failure.to_string());
                return described;
            }
        };
        let get = |section: &str, option: &str| {
            let value = config.get(section, option).ok().flatten();
            value.filter(|value| !value.is_empty())
        };
        let path = |option: &str| {
            get("slapconsole", option)
                .or_else(|| get("slapos", option))
                .map(|value| settings::expand_home(Path::new(&value)))
        };
        described.url = get("slapos", "master_url");
        described.key = path("key_file");
        described.certificate = path("cert_file");
        described.authority = path("master_ca_file");
        described.believes_anybody = get("slapos", "master_tls_verify")
            .is_some_and(|word| word.eq_ignore_ascii_case("false"));
        if let Some(file) = &described.certificate
            && let Ok(text) = fs::read(file)
            && let Some((who, expires)) = certificate(&text)
        {
            described.who = who;
            described.expires = expires;
        }
        described
    }

    fn master(&self) -> &str {
        self.url.as_deref().unwrap_or("no Master")
    }

    fn is_of(&self, url: &str) -> bool {
        let plain = |url: &str| url.trim_end_matches('/').to_owned();
        self.url.as_deref().map(plain) == Some(plain(url))
    }

    /// What a person has to know before it can be used; nothing where it can.
    fn state(&self) -> String {
        match (&self.trouble, &self.key, self.expires) {
            (Some(trouble), ..) => trouble.clone(),
            (None, None, _) => "needs no certificate".to_owned(),
            (None, Some(key), _) if !key.exists() => "logged out".to_owned(),
            (None, Some(_), Some(expires)) if expires < Timestamp::now() => {
                format!("expired on {}", expires.strftime("%Y-%m-%d"))
            }
            (None, Some(_), Some(expires)) => {
                format!("good until {}", expires.strftime("%Y-%m-%d"))
            }
            (None, Some(_), None) => "its certificate cannot be read".to_owned(),
        }
    }

    fn as_json(&self, current: &str) -> Json {
        json!({
            "name": self.name,
            "current": self.name == current,
            "master-url": self.url,
            "file": contexts::file(&self.name),
            "certificate": self.who,
            "expires": self.expires.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            "state": self.state(),
        })
    }
}

/// The common name of a certificate and its end.
pub(super) fn certificate(pem: &[u8]) -> Option<(Option<String>, Option<Timestamp>)> {
    let (_, pem) = parse_x509_pem(pem).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let who = certificate
        .subject()
        .iter_common_name()
        .find_map(|name| name.as_str().ok())
        .map(str::to_owned);
    let end = certificate.validity().not_after.timestamp();
    Some((who, Timestamp::from_second(end).ok()))
}

fn list(arguments: &ContextList) -> CommandResult {
    let current = contexts::current();
    let all: Vec<Described> = contexts::names()
        .iter()
        .map(|name| Described::read(name))
        .collect();
    let format = output::format(arguments.output);
    if all.is_empty() && format == Some(crate::args::OutputFormat::Table) {
        output::complain("You know no Master yet; `slapos login URL` makes you known to one.");
        return Ok(ExitCode::SUCCESS);
    }
    let value = Json::Array(all.iter().map(|one| one.as_json(&current)).collect());
    let names = all.iter().map(|one| one.name.as_str());
    output::answer(format, &value, names, || {
        let rows = all.iter().map(|one| {
            let mark = if one.name == current { "*" } else { "" };
            [
                mark.to_owned(),
                one.name.clone(),
                one.master().to_owned(),
                one.state(),
            ]
        });
        output::table(&["", "CONTEXT", "MASTER", "CERTIFICATE"], rows)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn show(arguments: &ContextShow) -> CommandResult {
    let current = contexts::current();
    let name = arguments
        .context
        .clone()
        .or_else(|| contexts::asked(None))
        .unwrap_or_else(|| current.clone());
    let file = contexts::known(&name)?;
    let described = Described::read(&name);
    let value = described.as_json(&current);
    output::answer(arguments.output, &value, [&name], || {
        let mut lines = vec![
            format!("Context      {name}"),
            format!("Master       {}", described.master()),
            format!("File         {}", file.display()),
        ];
        if let Some(who) = &described.who {
            lines.push(format!("Certificate  {who}"));
        }
        lines.push(format!("State        {}", described.state()));
        lines.join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_called_as_its_master() {
        for (url, expected) in [
            ("https://slapos.example.com:8443/x", "slapos.example.com"),
            ("https://slapos.example.com", "slapos.example.com"),
            ("http://[fd00::1]:5000/", "fd00--1--5000"),
            ("http://fe80::1/", "fe80--1"),
        ] {
            assert_eq!(free_name(url), expected);
        }
    }
}
