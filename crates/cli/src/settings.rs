//! Which configuration file counts, and what a client reads of it (C 2).

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use slap::config::Config;
use slap_client::{Cloud, Profile, ProfileError, Settings};
pub(crate) use slap_client::{expand_home, home};

use crate::args::client::{ClientConfig, Console};
use crate::contexts;
use crate::failure::Failure;

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The file a node's, proxy's or other command uses: `--cfg`, `$SLAPOS_CONFIGURATION`, the
/// system's.
pub(crate) fn node_file(cfg: Option<&Path>) -> PathBuf {
    discover(cfg, "SLAPOS_CONFIGURATION", || {
        PathBuf::from("/etc/opt/slapos/slapos.cfg")
    })
}

/// The file a client's command uses: `--cfg`, `$SLAPOS_CLIENT_CONFIGURATION`, the user's own.
pub(crate) fn client_file(cfg: Option<&Path>) -> PathBuf {
    discover(cfg, "SLAPOS_CLIENT_CONFIGURATION", || {
        contexts::file(&contexts::current())
    })
}

fn discover(cfg: Option<&Path>, variable: &str, last: impl Fn() -> PathBuf) -> PathBuf {
    cfg.filter(|path| !path.as_os_str().is_empty())
        .map(Path::to_path_buf)
        .or_else(|| {
            std::env::var_os(variable)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        })
        .map_or_else(last, |path| expand_home(&path))
}

/// Reads a configuration file.
pub(crate) fn read(path: &Path) -> Result<Config, Failure> {
    let mut text = String::new();
    let size = std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                Failure::new(format!(
                    "Configuration file does not exist: {}",
                    path.display()
                ))
                .hint("name another one with --cfg, or try `slapos standalone` which makes its own")
            } else {
                Failure::new(format!(
                    "Cannot read configuration file {}: {error}",
                    path.display()
                ))
            }
        })?;
    if size as u64 > FILE_BYTES_MAX {
        return Err(Failure::new(format!(
            "{} has more than {FILE_BYTES_MAX} bytes, which no configuration has",
            path.display()
        )));
    }
    Config::parse(&text)
        .map_err(|error| Failure::new(format!("Cannot parse {}: {error}", path.display())))
}

/// What the client's configuration says; `$SLAPOS_MASTER_URL` names another Master, or one for whoever
/// has no configuration, unless the command line says which one is meant.
pub(crate) fn profile(arguments: &ClientConfig) -> Result<Profile, Failure> {
    let file = contexts::client_file(arguments)?;
    let other = std::env::var("SLAPOS_MASTER_URL")
        .ok()
        .filter(|url| !url.is_empty() && arguments.cfg.is_none() && arguments.context.is_none());
    let Some(url) = other else {
        return Ok(Profile::read(&file)?);
    };
    match Profile::read(&file) {
        Ok(mut profile) => {
            profile.settings.master_url = url;
            profile.rest_url = None;
            Ok(profile)
        }
        Err(ProfileError::Missing { .. }) => {
            let text = format!("[slapos]\nmaster_url = {}\n", url.replace('%', "%%"));
            Ok(Profile::parse(&text, &file)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The Master of the client's configuration, as its user sees it.
pub(crate) fn cloud(arguments: &ClientConfig) -> Result<Cloud, Failure> {
    Ok(Cloud::open(&profile(arguments)?)?)
}

/// What the console's options and the configuration say; the options win, and without a
/// configuration they have to be enough.
pub(crate) fn console(arguments: &Console) -> Result<Profile, Failure> {
    let file = contexts::client_file(&arguments.config)?;
    let mut profile = match (profile(&arguments.config), &arguments.master_url) {
        (Ok(mut profile), url) => {
            if let Some(url) = url {
                profile.settings.master_url.clone_from(url);
            }
            profile
        }
        (Err(_), Some(url)) if !file.exists() => Profile {
            file,
            settings: Settings::new(url),
            rest_url: None,
            aliases: BTreeMap::new(),
        },
        (Err(failure), _) => return Err(failure),
    };
    let (certificate, key) = profile.settings.certificate.take().unzip();
    profile.settings.certificate = arguments
        .cert_file
        .clone()
        .or(certificate)
        .zip(arguments.key_file.clone().or(key));
    Ok(profile)
}
