//! The configuration of a Master for one machine (N 1.5, C 1.8).

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;

use slap::NodeId;
use slap::config::{Config, ConfigError, lines};
use slap::reference::ReferenceError;

use crate::forward::OtherMaster;

/// The sections that are read, the first one winning.
const SECTIONS: [&str; 2] = ["slapos", "slapproxy"];
/// Upstream's example names this port; its code has no default.
const PORT: u16 = 5000;
const HOST: &str = "127.0.0.1";
/// The node of a machine that has none configured (P 1.5).
const NODE: &str = "local_computer";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file's own syntax.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Where the data is must be said.
    #[error(
        "database-uri is required: set `database_uri` in section [slapproxy], \
         or give --database-uri"
    )]
    NoDatabase,
    /// Some other kind of database.
    #[error("the database {given:?} is not a path; this Master keeps its data in a SQLite file")]
    Database {
        /// What was given.
        given: String,
    },
    /// No port.
    #[error("{given:?} is not a port number")]
    Port {
        /// What was given.
        given: String,
    },
    /// A line of the product list without a release.
    #[error("the line {line:?} of software_product_list is not a name and a URL")]
    Product {
        /// The line.
        line: String,
    },
    /// A node or partition that cannot be one.
    #[error("{option}: {source}")]
    Reference {
        /// The option.
        option: String,
        /// Why.
        source: ReferenceError,
    },
    /// One directory of the network cache without the other.
    #[error(
        "the network cache needs both shacache_content_directory and shacache_metadata_directory, \
         or neither"
    )]
    HalfCache,
    /// A limit of the network cache.
    #[error("{option}: {given:?} is not {expected}")]
    Cache {
        /// The option.
        option: &'static str,
        /// What was given.
        given: String,
        /// What it could be.
        expected: &'static str,
    },
    /// Only a computer without a partition or the reverse.
    #[error("section [multimaster/{url}] needs both `computer` and `partition`, or neither")]
    HalfRequester {
        /// The other Master.
        url: String,
    },
    /// A host that others can reach.
    #[error(
        "{host} can be reached from other machines, and this Master lets everybody who reaches it do \
         everything; use 127.0.0.1 or ::1, or say explicitly that remote access is wanted \
         (--allow-remote, or `allow_remote = true` in section [slapproxy])"
    )]
    Remote {
        /// The host.
        host: String,
    },
}

/// What the command line says; it wins over the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// `--database-uri`.
    pub database_uri: Option<String>,
    /// `--host`.
    pub host: Option<String>,
    /// `--port`.
    pub port: Option<String>,
    /// `--local-software-release-root`.
    pub local_software_release_root: Option<String>,
    /// The default node.
    pub computer_id: Option<String>,
    /// `--allow-remote`.
    pub allow_remote: bool,
}

/// What a Master for one machine needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file the data is in.
    pub database: PathBuf,
    /// Where to listen.
    pub host: String,
    /// The port; 0 lets the system choose.
    pub port: u16,
    /// Where requests go that name no node.
    pub node: NodeId,
    /// Software products: name and release.
    pub products: Vec<(String, String)>,
    /// The directory releases given as local paths are in. Kept for the command line; the Master
    /// takes every release verbatim.
    pub local_software_release_root: Option<PathBuf>,
    /// Where to log, when not to standard error.
    pub log_file: Option<PathBuf>,
    /// Other Masters.
    pub masters: Vec<OtherMaster>,
    /// Whether a host that others can reach is accepted.
    pub allow_remote: bool,
    /// Its network cache, if it keeps one.
    pub cache: Option<network_cache::Settings>,
}

impl Settings {
    /// Settings for a database and a node, everything else by default, on any free port.
    pub fn new(database: impl Into<PathBuf>, node: NodeId) -> Self {
        Settings {
            database: database.into(),
            host: HOST.to_owned(),
            port: 0,
            node,
            products: Vec::new(),
            local_software_release_root: None,
            log_file: None,
            masters: Vec::new(),
            allow_remote: false,
            cache: None,
        }
    }

    /// Reads sections `[slapos]` and `[slapproxy]`, the first non-empty value winning and the
    /// command line before both, and the sections `[multimaster/<url>]`.
    ///
    /// # Errors
    /// [`SettingsError`] names the option and what to do.
    pub fn from_config(config: &Config, overrides: &Overrides) -> Result<Self, SettingsError> {
        let option = |given: Option<&String>, name: &str| -> Result<Option<String>, ConfigError> {
            if let Some(given) = given.filter(|given| !given.is_empty()) {
                return Ok(Some(given.clone()));
            }
            let dashed = name.replace('_', "-");
            for section in SECTIONS {
                for name in [name, &dashed] {
                    if let Some(value) = config.get(section, name)?
                        && !value.trim().is_empty()
                    {
                        return Ok(Some(value.trim().to_owned()));
                    }
                }
            }
            Ok(None)
        };
        let uri = option(overrides.database_uri.as_ref(), "database_uri")?
            .ok_or(SettingsError::NoDatabase)?;
        let port = match option(overrides.port.as_ref(), "port")? {
            None => PORT,
            Some(given) => given.parse().map_err(|_| SettingsError::Port { given })?,
        };
        let node = option(overrides.computer_id.as_ref(), "computer_id")?
            .unwrap_or_else(|| NODE.to_owned());
        let root = option(
            overrides.local_software_release_root.as_ref(),
            "local_software_release_root",
        )?;
        let allow_remote = overrides.allow_remote
            || option(None, "allow_remote")?.is_some_and(|value| is_true(&value));
        Ok(Settings {
            database: database_path(&uri)?,
            host: option(overrides.host.as_ref(), "host")?.unwrap_or_else(|| HOST.to_owned()),
            port,
            node: reference("computer_id", &node)?,
            products: products(&option(None, "software_product_list")?.unwrap_or_default())?,
            local_software_release_root: root.map(PathBuf::from),
            log_file: option(None, "log_file")?.map(PathBuf::from),
            masters: masters(config)?,
            allow_remote,
            cache: cache(|name| option(None, name))?,
        })
    }

    /// Refuses a host that other machines can reach, unless that is wanted.
    pub(super) fn check_host(&self) -> Result<(), SettingsError> {
        if self.allow_remote || is_loopback(&self.host) {
            Ok(())
        } else {
            Err(SettingsError::Remote {
                host: self.host.clone(),
            })
        }
    }
}

/// The network cache that the options describe, under upstream's names; its limits are ours.
fn cache(
    option: impl Fn(&str) -> Result<Option<String>, ConfigError>,
) -> Result<Option<network_cache::Settings>, SettingsError> {
    let (content, metadata) = match (
        option("shacache_content_directory")?,
        option("shacache_metadata_directory")?,
    ) {
        (Some(content), Some(metadata)) => (content, metadata),
        (None, None) => return Ok(None),
        _ => return Err(SettingsError::HalfCache),
    };
    let mebibytes = |name: &'static str| -> Result<Option<u64>, SettingsError> {
        let bad = |given| SettingsError::Cache {
            option: name,
            given,
            expected: "a number of MiB",
        };
        let read = |given: String| given.parse().map_err(|_| bad(given));
        option(name)?.map(read).transpose()
    };
    let mut cache = network_cache::Settings::new(content, metadata).with_limits(
        mebibytes("shacache_object_mib_max")?,
        mebibytes("shacache_total_mib_max")?,
    );
    if let Some(given) = option("shacache_when_full")? {
        cache.when_full = given.parse().map_err(|()| SettingsError::Cache {
            option: "shacache_when_full",
            given,
            expected: "`forget` or `refuse`",
        })?;
    }
    cache.upstream = network_cache::Upstream {
        cache_url: option("shacache_upstream_cache_url")?,
        dir_url: option("shacache_upstream_dir_url")?,
    };
    cache.takes_unsigned = option("shacache_accept_unsigned")?.is_some_and(|value| is_true(&value));
    Ok(Some(cache))
}

fn is_true(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "true" | "yes" | "on" | "1"
    )
}

fn is_false(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "false" | "no" | "off" | "0"
    )
}

/// Whether every address of a host is this machine's own.
fn is_loopback(host: &str) -> bool {
    let bare = bare_host(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    match (bare, 0).to_socket_addrs() {
        Ok(addresses) => {
            let addresses: Vec<_> = addresses.collect();
            !addresses.is_empty()
                && addresses
                    .iter()
                    .all(|address| address.ip().to_canonical().is_loopback())
        }
        // Binding will say what is wrong with it.
        Err(_) => true,
    }
}

/// A host without the brackets an IPv6 address may wear.
pub(super) fn bare_host(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

fn reference<T: std::str::FromStr<Err = ReferenceError>>(
    option: &str,
    text: &str,
) -> Result<T, SettingsError> {
    text.parse().map_err(|source| SettingsError::Reference {
        option: option.to_owned(),
        source,
    })
}

fn database_path(uri: &str) -> Result<PathBuf, SettingsError> {
    let path = match uri.split_once(':') {
        Some(("sqlite", path)) => path.strip_prefix("//").unwrap_or(path),
        Some((scheme, rest)) if rest.starts_with("//") && !scheme.contains('/') => {
            return Err(SettingsError::Database {
                given: uri.to_owned(),
            });
        }
        _ => uri,
    };
    if path.is_empty() || path == ":memory:" {
        return Err(SettingsError::Database {
            given: uri.to_owned(),
        });
    }
    Ok(PathBuf::from(path))
}

/// Lines of a name and a URL. Of a name given twice the last one counts.
fn products(list: &str) -> Result<Vec<(String, String)>, SettingsError> {
    let mut products: Vec<(String, String)> = Vec::new();
    for line in lines(list) {
        let mut words = line.split_whitespace();
        let (Some(name), Some(url), None) = (words.next(), words.next(), words.next()) else {
            return Err(SettingsError::Product {
                line: line.to_owned(),
            });
        };
        products.retain(|(known, _)| known != name);
        products.push((name.to_owned(), url.to_owned()));
    }
    Ok(products)
}

fn masters(config: &Config) -> Result<Vec<OtherMaster>, SettingsError> {
    let mut masters = Vec::new();
    for section in config.sections() {
        let Some(url) = section.strip_prefix("multimaster/") else {
            continue;
        };
        let options: BTreeMap<String, String> = config.options(section)?;
        let option = |name: &str| {
            options
                .get(name)
                .map(|value| value.trim())
                .filter(|value| !value.is_empty())
        };
        let requester = match (option("computer"), option("partition")) {
            (None, None) => None,
            (Some(node), Some(partition)) => Some((
                reference(&format!("[{section}] computer"), node)?,
                reference(&format!("[{section}] partition"), partition)?,
            )),
            _ => {
                return Err(SettingsError::HalfRequester {
                    url: url.to_owned(),
                });
            }
        };
        masters.push(OtherMaster {
            url: url.to_owned(),
            certificate: option("cert").map(PathBuf::from),
            key: option("key").map(PathBuf::from),
            authority: option("ca_file").map(PathBuf::from),
            unverified: option("verify").is_some_and(is_false),
            releases: lines(option("software_release_list").unwrap_or_default())
                .map(str::to_owned)
                .collect(),
            requester,
        });
    }
    Ok(masters)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(text: &str) -> Result<Settings, SettingsError> {
        Settings::from_config(&Config::parse(text).unwrap(), &Overrides::default())
    }

    #[test]
    fn the_first_non_empty_value_wins_and_the_command_line_before_all() {
        let config = Config::parse(
            "[slapos]\ncomputer_id = COMP-1\nhost =\nport = 1\n\
             [slapproxy]\nhost = ::1\nport = 2\ndatabase_uri = /a/b.db\nlog_file = /x.log\n\
             software_product_list =\n  kvm   http://x/kvm.cfg\n  a\thttp://x/a.cfg\n",
        )
        .unwrap();
        let settings = Settings::from_config(&config, &Overrides::default()).unwrap();
        assert_eq!(settings.node.as_str(), "COMP-1");
        assert_eq!((settings.host.as_str(), settings.port), ("::1", 1));
        assert_eq!(settings.database, PathBuf::from("/a/b.db"));
        assert_eq!(settings.log_file, Some(PathBuf::from("/x.log")));
        assert_eq!(
            settings.products,
            [
                ("kvm".to_owned(), "http://x/kvm.cfg".to_owned()),
                ("a".to_owned(), "http://x/a.cfg".to_owned())
            ]
        );
        let overrides = Overrides {
            database_uri: Some("c.db".into()),
            port: Some("7".into()),
            ..Overrides::default()
        };
        let settings = Settings::from_config(&config, &overrides).unwrap();
        assert_eq!(
            (settings.port, settings.database),
            (7, PathBuf::from("c.db"))
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(matches!(
            settings("[slapos]\n"),
            Err(SettingsError::NoDatabase)
        ));
        let with = |rest: &str| settings(&format!("[slapproxy]\ndatabase_uri = d\n{rest}"));
        assert!(matches!(
            with("port = x\n"),
            Err(SettingsError::Port { .. })
        ));
        assert!(matches!(
            with("software_product_list = kvm\n"),
            Err(SettingsError::Product { .. })
        ));
        assert!(matches!(
            with("[multimaster/http://m]\ncomputer = a\n"),
            Err(SettingsError::HalfRequester { .. })
        ));
        assert!(matches!(
            settings("[slapproxy]\ndatabase_uri = postgresql://x/y\n"),
            Err(SettingsError::Database { .. })
        ));
    }

    #[test]
    fn a_sqlite_prefix_is_tolerated() {
        for (uri, path) in [
            ("/a/b", "/a/b"),
            ("rel.db", "rel.db"),
            ("sqlite:/a/b", "/a/b"),
            ("sqlite:///a/b", "/a/b"),
            ("sqlite:rel.db", "rel.db"),
        ] {
            assert_eq!(database_path(uri).unwrap(), PathBuf::from(path), "{uri}");
        }
    }

    #[test]
    fn a_network_cache_is_two_directories_in_either_spelling() {
        let with = |rest: &str| {
            let text = format!("[slapproxy]\ndatabase_uri = d\n{rest}");
            settings(&text).map(|settings| settings.cache)
        };
        assert_eq!(with("").unwrap(), None);
        for text in [
            "shacache_content_directory = /c\nshacache_metadata_directory = /m\n",
            "shacache-content-directory = /c\nshacache-metadata-directory = /m\n",
        ] {
            let cache = with(text).unwrap().unwrap();
            assert_eq!(cache, network_cache::Settings::new("/c", "/m"));
            let cache = with(&format!(
                "{text}shacache_object_mib_max = 3\nshacache_total_mib_max = 5\n\
                 shacache_when_full = refuse\nshacache_accept_unsigned = true\n\
                 shacache-upstream-dir-url = http://x/dir\n"
            ));
            let cache = cache.unwrap().unwrap();
            assert_eq!(cache.object_bytes_max, 3 << 20);
            assert_eq!(cache.total_bytes_max, 5 << 20);
            assert_eq!(cache.when_full, network_cache::WhenFull::Refuse);
            assert!(cache.takes_unsigned);
            assert_eq!(cache.upstream.dir_url.as_deref(), Some("http://x/dir"));
            assert_eq!(cache.upstream.cache_url, None);
            for bad in ["shacache_object_mib_max = 3G", "shacache_when_full = x"] {
                let bad = with(&format!("{text}{bad}\n"));
                assert!(matches!(bad, Err(SettingsError::Cache { .. })));
            }
        }
        let half = with("shacache_content_directory = /c\n");
        assert!(matches!(half, Err(SettingsError::HalfCache)));
    }

    #[test]
    fn other_masters_come_with_their_credentials() {
        let settings = settings(
            "[slapproxy]\ndatabase_uri = d\n[multimaster/https://m.example/]\nkey = /k\n\
             cert = /c\nsoftware_release_list =\n  http://x/a.cfg\n  http://x/b.cfg\n\
             computer = COMP-1\npartition = slappart2\n",
        )
        .unwrap();
        let [master] = settings.masters.as_slice() else {
            unreachable!("one section, one master")
        };
        assert_eq!(master.url, "https://m.example/");
        assert_eq!(master.releases, ["http://x/a.cfg", "http://x/b.cfg"]);
        assert_eq!(master.key, Some(PathBuf::from("/k")));
        assert_eq!(master.requester.as_ref().unwrap().1.as_str(), "slappart2");
    }

    #[test]
    fn only_loopback_without_being_told_otherwise() {
        let mut settings = Settings::new("d", NodeId::new("n").unwrap());
        for host in ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "::ffff:127.0.0.1"] {
            settings.host = host.into();
            assert!(settings.check_host().is_ok(), "{host}");
        }
        for host in ["0.0.0.0", "::", "10.0.0.1", "fd00::1"] {
            settings.host = host.into();
            assert!(settings.check_host().is_err(), "{host}");
        }
        settings.allow_remote = true;
        assert!(settings.check_host().is_ok());
    }
}
