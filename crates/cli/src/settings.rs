//! Which configuration file counts, and what a client reads of it (C 2).

use std::io::Read;
use std::path::{Path, PathBuf};

use slap::config::Config;
use slap_client::{Cloud, Profile};
pub(crate) use slap_client::{expand_home, home};

use crate::args::client::ClientConfig;
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
        home().join(".slapos/slapos-client.cfg")
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

/// What the client's configuration says.
pub(crate) fn profile(arguments: &ClientConfig) -> Result<Profile, Failure> {
    Ok(Profile::read(&client_file(arguments.cfg.as_deref()))?)
}

/// The Master of the client's configuration, as its user sees it.
pub(crate) fn cloud(arguments: &ClientConfig) -> Result<Cloud, Failure> {
    Ok(Cloud::open(&profile(arguments)?)?)
}

/// What the console is told of the Master.
pub(crate) struct ConsoleSettings {
    pub(crate) file: PathBuf,
    pub(crate) master_url: String,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) cert_file: Option<PathBuf>,
    pub(crate) master_ca_file: Option<PathBuf>,
    pub(crate) verify: bool,
    pub(crate) master_rest_url: Option<String>,
    pub(crate) aliases: std::collections::BTreeMap<String, String>,
}

/// What the console's options and the configuration say; the options win.
pub(crate) fn console(
    arguments: &crate::args::client::Console,
) -> Result<ConsoleSettings, Failure> {
    let file = client_file(arguments.config.cfg.as_deref());
    let config = match read(&file) {
        Ok(config) => config,
        Err(_) if arguments.master_url.is_some() && !file.exists() => Config::default(),
        Err(failure) => return Err(failure),
    };
    let get = |section: &str, option: &str| -> Result<Option<String>, Failure> {
        config
            .get(section, option)
            .map(|value| value.filter(|value| !value.is_empty()))
            .map_err(|error| Failure::new(format!("{}: {error}", file.display())))
    };
    let either = |option: &str| -> Result<Option<PathBuf>, Failure> {
        let value = match get("slapconsole", option)? {
            Some(value) => Some(value),
            None => get("slapos", option)?,
        };
        Ok(value.map(|value| expand_home(Path::new(&value))))
    };
    let master_url = match &arguments.master_url {
        Some(url) => url.clone(),
        None => get("slapos", "master_url")?.ok_or_else(|| {
            Failure::new(format!(
                "No option `master_url` in section [slapos] of {}",
                file.display()
            ))
        })?,
    };
    let mut aliases = std::collections::BTreeMap::new();
    for line in get("slapconsole", "alias")?.unwrap_or_default().lines() {
        if let Some((name, url)) = line.trim().split_once(char::is_whitespace) {
            aliases.insert(name.to_owned(), url.trim().to_owned());
        }
    }
    Ok(ConsoleSettings {
        master_url,
        key_file: match &arguments.key_file {
            Some(file) => Some(file.clone()),
            None => either("key_file")?,
        },
        cert_file: match &arguments.cert_file {
            Some(file) => Some(file.clone()),
            None => either("cert_file")?,
        },
        master_ca_file: either("master_ca_file")?,
        verify: !get("slapos", "master_tls_verify")?
            .is_some_and(|word| word.eq_ignore_ascii_case("false")),
        master_rest_url: get("slapos", "master_rest_url")?,
        aliases,
        file,
    })
}
