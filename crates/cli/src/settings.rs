//! Which configuration file counts, and what a client reads of it (C 2).

use std::io::Read;
use std::path::{Path, PathBuf};

use slap::config::Config;
use slap_client::{Client, Settings, Trust};

use crate::args::client::ClientConfig;
use crate::failure::{Code, Failure};

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

pub(crate) fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// `~` and `~/…` as the shell would have them.
pub(crate) fn expand_home(path: &Path) -> PathBuf {
    match path.strip_prefix("~") {
        Ok(rest) => home().join(rest),
        Err(_) => path.to_path_buf(),
    }
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

/// What a client's command works with.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) rest_url: Option<String>,
}

impl Context {
    /// Reads the client's configuration and prepares the connection it describes (C 2.3).
    pub(crate) fn load(arguments: &ClientConfig) -> Result<Context, Failure> {
        let path = client_file(arguments.cfg.as_deref());
        let config = read(&path)?;
        let get = |section: &str, option: &str| -> Result<Option<String>, Failure> {
            config
                .get(section, option)
                .map(|value| value.filter(|value| !value.is_empty()))
                .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
        };
        let master_url = get("slapos", "master_url")?.ok_or_else(|| {
            Failure::new(format!(
                "No option `master_url` in section [slapos] of {}",
                path.display()
            ))
            .hint("add a line such as `master_url = https://slap.vifib.com/`")
        })?;
        let either = |option: &str| -> Result<Option<PathBuf>, Failure> {
            let value = match get("slapconsole", option)? {
                Some(value) => Some(value),
                None => get("slapos", option)?,
            };
            Ok(value.map(|value| expand_home(Path::new(&value))))
        };
        let mut settings = Settings::new(&master_url);
        settings.certificate = match (either("cert_file")?, either("key_file")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(half(&path, "cert_file", "key_file")),
            (None, Some(_)) => return Err(half(&path, "key_file", "cert_file")),
        };
        if settings.certificate.is_none() && master_url.starts_with("https://") {
            return Err(Failure::new(format!(
                "No option `key_file` and `cert_file` in {}, which an https Master needs",
                path.display()
            )));
        }
        settings.trust = match (
            either("master_ca_file")?,
            get("slapos", "master_tls_verify")?,
        ) {
            (_, Some(word)) if word.eq_ignore_ascii_case("false") => Trust::Insecure,
            (Some(file), _) => Trust::CaFile(file),
            (None, _) => Trust::WebRoots,
        };
        Ok(Context {
            client: Client::new(settings)?,
            rest_url: get("slapos", "master_rest_url")?,
        })
    }
}

fn half(path: &Path, given: &str, missing: &str) -> Failure {
    Failure::new(format!(
        "{} has the option `{given}` but not `{missing}`; they belong together",
        path.display()
    ))
    .code(Code::Failed)
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
