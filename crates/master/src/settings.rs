//! How a Master is told what to be: options and environment variables, then a file, then what is
//! sensible.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use slap::config::{Config, ConfigError, lines};

use crate::catalogue::CatalogueSettings;
use crate::store::{Database, OpenError};

/// The section of the file that is read.
const SECTION: &str = "master";
/// The port for HTTPS. 443 belongs to whatever web server the machine has.
pub const PORT: u16 = 8443;
/// What the certificate authority is made for, where nothing is said.
const ORGANISATION: &str = "SlapOS Master";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file's own syntax.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The address of the database.
    #[error("database: {0}")]
    Database(#[from] OpenError),
    /// An address to listen on.
    #[error("{option}: {given:?} is no place to listen; write HOST:PORT, [IPv6]:PORT or :PORT")]
    Listen {
        /// The option.
        option: &'static str,
        /// What was given.
        given: String,
    },
    /// The address of a proxy.
    #[error("trusted_proxy: {given:?} is no IP address")]
    Proxy {
        /// What was given.
        given: String,
    },
    /// Plain HTTP where others could listen in.
    #[error(
        "plain: {given} can be reached from other machines, and plain HTTP would let everybody on \
         the way read passwords and tokens; listen on 127.0.0.1 or [::1], or name the proxies that \
         may connect there with --trusted-proxy"
    )]
    PlainForAll {
        /// What was given.
        given: Listen,
    },
    /// The public URL.
    #[error("public_url: {given:?} is no http or https URL of a host")]
    PublicUrl {
        /// What was given.
        given: String,
    },
    /// An option of the network cache.
    #[error("{option}: {given:?} is not {expected}")]
    Cache {
        /// The option.
        option: &'static str,
        /// What was given.
        given: String,
        /// What it could be.
        expected: &'static str,
    },
    /// An option of the catalogue of releases.
    #[error("{option}: {given:?} is neither `true` nor `false`")]
    Catalogue {
        /// The option.
        option: &'static str,
        /// What was given.
        given: String,
    },
    /// A certificate without its key, or the reverse.
    #[error("certificate and key belong together: give both, or neither")]
    HalfCertificate,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// A host name or an address.
    pub host: String,
    /// The port; 0 lets the system choose.
    pub port: u16,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Listen {
    type Err = ();

    /// `HOST:PORT`, `[IPv6]:PORT`, `:PORT` for all addresses, or `HOST` for the usual port.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim();
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or(())?;
            match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if port.is_empty() => (host, None),
                None => return Err(()),
            }
        } else if text.parse::<IpAddr>().is_ok() {
            (text, None)
        } else {
            match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| ())?,
            None => PORT,
        };
        let host = if host.is_empty() && text.starts_with(':') {
            "::"
        } else {
            host
        };
        let plausible = !host.is_empty()
            && !host
                .chars()
                .any(|character| character.is_whitespace() || "/@[]".contains(character))
            && (!host.contains(':') || host.parse::<IpAddr>().is_ok());
        plausible
            .then(|| Listen {
                host: host.to_owned(),
                port,
            })
            .ok_or(())
    }
}

impl Listen {
    /// Whether only this machine can reach it.
    fn is_local(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

/// What options and environment variables say; each wins over the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Given {
    /// Where the Master keeps its files.
    pub data_dir: Option<PathBuf>,
    /// `sqlite:PATH` or `postgres://…`.
    pub database: Option<String>,
    /// Where to listen for HTTPS.
    pub listen: Vec<String>,
    /// Where to listen for plain HTTP.
    pub plain: Vec<String>,
    /// Proxies that may say who calls.
    pub trusted_proxy: Vec<String>,
    /// The URL people and nodes use.
    pub public_url: Option<String>,
    /// Further names of this machine, for the server's certificate.
    pub server_name: Vec<String>,
    /// A certificate for the server from elsewhere.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// What a new certificate authority is made for.
    pub organisation: Option<String>,
    /// Where the network cache is kept.
    pub cache_directory: Option<PathBuf>,
}

/// The network cache of a Master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Where it is, and how much it may keep.
    pub kept: network_cache::Settings,
    /// Whether anybody may read it, and not only who is known.
    pub public: bool,
}

impl CacheSettings {
    /// Everything by default, below that directory.
    fn new(directory: &Path) -> Self {
        let [content, metadata] = ["data", "dir"].map(|name| directory.join(name));
        CacheSettings {
            kept: network_cache::Settings::new(content, metadata),
            public: false,
        }
    }
}

/// What a Master needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it keeps its files.
    pub data_dir: PathBuf,
    /// Its database.
    pub database: Database,
    /// Where it listens for HTTPS.
    pub listen: Vec<Listen>,
    /// Where it listens for plain HTTP: on this machine, or for trusted proxies.
    pub plain: Vec<Listen>,
    /// Proxies that may say who calls (`Remote-User`, `X-Forwarded-…`).
    pub trusted_proxies: Vec<IpAddr>,
    /// The URL people and nodes use, without a slash at its end; made up from the machine's name
    /// when absent.
    pub public_url: Option<String>,
    /// Further names of this machine, for the server's certificate.
    pub server_names: Vec<String>,
    /// Files of a certificate for the server from elsewhere, and of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// What a new certificate authority is made for.
    pub organisation: String,
    /// Its network cache, if it keeps one.
    pub cache: Option<CacheSettings>,
    /// Where it reads what releases say of themselves.
    pub catalogue: CatalogueSettings,
}

impl Settings {
    /// Everything by default, in that directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Settings {
            database: Database::Sqlite(data_dir.join("master.db")),
            data_dir,
            listen: vec![Listen {
                host: "::".to_owned(),
                port: PORT,
            }],
            plain: Vec::new(),
            trusted_proxies: Vec::new(),
            public_url: None,
            server_names: Vec::new(),
            certificate: None,
            organisation: ORGANISATION.to_owned(),
            cache: None,
            catalogue: CatalogueSettings::default(),
        }
    }

    /// Joins what was given, the section `[master]` of a file, and what is sensible.
    /// `data_dir_default` is used when neither names a directory.
    ///
    /// # Errors
    /// [`SettingsError`] names the option and what to do.
    pub fn resolve(
        given: &Given,
        config: &Config,
        data_dir_default: &Path,
    ) -> Result<Self, SettingsError> {
        let file = File(config);
        let path = |given: &Option<PathBuf>, name: &str| -> Result<Option<PathBuf>, ConfigError> {
            match given {
                Some(path) => Ok(Some(path.clone())),
                None => Ok(file.one(name)?.map(PathBuf::from)),
            }
        };
        let data_dir =
            path(&given.data_dir, "data_dir")?.unwrap_or_else(|| data_dir_default.to_owned());
        let mut settings = Settings::new(data_dir);
        if let Some(database) = file.or(given.database.as_ref(), "database")? {
            settings.database = Database::parse(&database)?;
        }
        let listen = file.or_all(&given.listen, "listen")?;
        let plain = file.or_all(&given.plain, "plain")?;
        settings.plain = places("plain", &plain)?;
        if !listen.is_empty() {
            settings.listen = places("listen", &listen)?;
        }
        for proxy in file.or_all(&given.trusted_proxy, "trusted_proxy")? {
            let address: IpAddr = proxy
                .parse()
                .map_err(|_| SettingsError::Proxy { given: proxy })?;
            settings.trusted_proxies.push(address.to_canonical());
        }
        if settings.trusted_proxies.is_empty()
            && let Some(open) = settings.plain.iter().find(|listen| !listen.is_local())
        {
            return Err(SettingsError::PlainForAll {
                given: open.clone(),
            });
        }
        settings.public_url = file
            .or(given.public_url.as_ref(), "public_url")?
            .map(|url| public_url(&url))
            .transpose()?;
        settings.server_names = file.or_all(&given.server_name, "server_name")?;
        settings.certificate = match (
            path(&given.certificate, "certificate")?,
            path(&given.key, "key")?,
        ) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(SettingsError::HalfCertificate),
        };
        if let Some(organisation) = file.or(given.organisation.as_ref(), "organisation")? {
            settings.organisation = organisation;
        }
        if let Some(directory) = path(&given.cache_directory, "cache_directory")? {
            settings.cache = Some(file.cache(&directory)?);
        }
        let allowed = |option| {
            let bad = |given| SettingsError::Catalogue { option, given };
            file.is_set(option)?.unwrap_or(Ok(false)).map_err(bad)
        };
        settings.catalogue = CatalogueSettings {
            private: allowed("catalogue_private")?,
            local: allowed("catalogue_local")?,
        };
        Ok(settings)
    }
}

fn places(option: &'static str, texts: &[String]) -> Result<Vec<Listen>, SettingsError> {
    texts
        .iter()
        .map(|given| {
            given.parse().map_err(|()| SettingsError::Listen {
                option,
                given: given.clone(),
            })
        })
        .collect()
}

/// A URL of a host, perhaps with a path, without a slash at its end.
fn public_url(given: &str) -> Result<String, SettingsError> {
    let url = given.trim().trim_end_matches('/');
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let plain = |rest: &str| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]/%".contains(&byte))
    };
    match rest {
        Some(rest) if plain(rest) => Ok(url.to_owned()),
        _ => Err(SettingsError::PublicUrl {
            given: given.to_owned(),
        }),
    }
}

/// The host of a URL that [`public_url`] accepted.
pub(crate) fn host_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split('/').next()?;
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next();
    }
    authority.split(':').next()
}

/// The section of a file, with both spellings of its options.
struct File<'a>(&'a Config);

impl File<'_> {
    fn one(&self, name: &str) -> Result<Option<String>, ConfigError> {
        for name in [name, &name.replace('_', "-")] {
            if let Some(value) = self.0.get(SECTION, name)?
                && !value.trim().is_empty()
            {
                return Ok(Some(value.trim().to_owned()));
            }
        }
        Ok(None)
    }

    fn or(&self, given: Option<&String>, name: &str) -> Result<Option<String>, ConfigError> {
        match given.filter(|given| !given.trim().is_empty()) {
            Some(given) => Ok(Some(given.trim().to_owned())),
            None => self.one(name),
        }
    }

    /// The network cache in this directory, with its limits.
    fn cache(&self, directory: &Path) -> Result<CacheSettings, SettingsError> {
        let bad = |option, given, expected| SettingsError::Cache {
            option,
            given,
            expected,
        };
        let mebibytes = |name: &'static str| -> Result<Option<u64>, SettingsError> {
            let read = |given: String| {
                let number = given.parse();
                number.map_err(|_| bad(name, given, "a number of MiB"))
            };
            self.one(name)?.map(read).transpose()
        };
        let mut cache = CacheSettings::new(directory);
        cache.kept = cache.kept.with_limits(
            mebibytes("cache_object_mib_max")?,
            mebibytes("cache_total_mib_max")?,
        );
        if let Some(given) = self.one("cache_when_full")? {
            cache.kept.when_full = given
                .parse()
                .map_err(|()| bad("cache_when_full", given, "`forget` or `refuse`"))?;
        }
        if let Some(given) = self.one("cache_public")? {
            cache.public =
                truth(given).map_err(|given| bad("cache_public", given, "`true` or `false`"))?;
        }
        Ok(cache)
    }

    /// Whether an option is set, where it is there; the inner error is what it says instead.
    fn is_set(&self, name: &str) -> Result<Option<Result<bool, String>>, ConfigError> {
        Ok(self.one(name)?.map(truth))
    }

    /// Values separated by white space or commas.
    fn or_all(&self, given: &[String], name: &str) -> Result<Vec<String>, ConfigError> {
        let text = if given.iter().all(|given| given.trim().is_empty()) {
            self.one(name)?.unwrap_or_default()
        } else {
            given.join("\n")
        };
        Ok(lines(&text)
            .flat_map(|line| line.split([',', ' ', '\t']))
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect())
    }
}

/// `true` or `false`, in the words people use; else what it was.
fn truth(given: String) -> Result<bool, String> {
    match given.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(given),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn resolve(given: &Given, file: &str) -> Result<Settings, SettingsError> {
        Settings::resolve(given, &Config::parse(file).unwrap(), Path::new("/default"))
    }

    #[test]
    fn options_win_over_the_file_and_the_file_over_what_is_sensible() {
        let settings = resolve(&Given::default(), "").unwrap();
        assert_eq!(settings, Settings::new("/default"));
        let file = "[master]\ndata_dir = /file\nlisten = 10.0.0.1:1\n  [::1]:2\n\
                    public-url = https://m.example.com/\ntrusted_proxy = ::ffff:10.0.0.2, 10.0.0.3\n\
                    database = postgres://u@h/n\nplain = 127.0.0.1:3\norganisation = Us\n";
        let settings = resolve(&Given::default(), file).unwrap();
        assert_eq!(settings.data_dir, Path::new("/file"));
        assert_eq!(settings.listen.len(), 2);
        assert_eq!(settings.listen[1].to_string(), "[::1]:2");
        assert_eq!(
            settings.public_url.as_deref(),
            Some("https://m.example.com")
        );
        assert_eq!(settings.trusted_proxies[0].to_string(), "10.0.0.2");
        assert_eq!(
            settings.database,
            Database::Postgres("postgres://u@h/n".into())
        );
        let given = Given {
            data_dir: Some("/given".into()),
            listen: vec![":9".into()],
            database: Some("sqlite:/x.db".into()),
            ..Given::default()
        };
        let settings = resolve(&given, file).unwrap();
        assert_eq!(settings.data_dir, Path::new("/given"));
        assert_eq!(settings.listen, ["[::]:9".parse().unwrap()]);
        assert_eq!(settings.database, Database::Sqlite("/x.db".into()));
        assert_eq!(settings.organisation, "Us");
    }

    #[test]
    fn the_catalogue_reads_from_others_unless_it_is_said() {
        let of = |file: &str| resolve(&Given::default(), file).map(|settings| settings.catalogue);
        assert_eq!(of("").unwrap(), CatalogueSettings::default());
        let file = "[master]\ncatalogue_private = true\ncatalogue-local = on\n";
        let catalogue = of(file).unwrap();
        assert!(catalogue.private && catalogue.local);
        let error = of("[master]\ncatalogue_private = maybe\n").unwrap_err();
        assert!(error.to_string().contains("catalogue_private"), "{error}");
    }

    #[test]
    fn a_network_cache_is_a_directory_with_limits() {
        let file = "[master]\ncache_directory = /c\ncache_object_mib_max = 3\n\
                    cache-total-mib-max = 5\ncache_when_full = refuse\ncache_public = true\n";
        let cache = resolve(&Given::default(), file).unwrap().cache.unwrap();
        assert_eq!(cache.kept.content, Path::new("/c/data"));
        assert_eq!(cache.kept.metadata, Path::new("/c/dir"));
        let bytes = [cache.kept.object_bytes_max, cache.kept.total_bytes_max];
        assert_eq!(bytes, [3 << 20, 5 << 20]);
        assert_eq!(cache.kept.when_full, network_cache::WhenFull::Refuse);
        assert!(cache.public && !cache.kept.takes_unsigned);
        let given = Given {
            cache_directory: Some("/given".into()),
            ..Given::default()
        };
        let cache = resolve(&given, "").unwrap().cache.unwrap();
        assert_eq!(cache, CacheSettings::new(Path::new("/given")));
        for bad in [
            "cache_object_mib_max = 3G",
            "cache_total_mib_max = -1",
            "cache_when_full = later",
            "cache_public = everybody",
        ] {
            let bad = resolve(&given, &format!("[master]\n{bad}\n"));
            assert!(matches!(bad, Err(SettingsError::Cache { .. })), "{bad:?}");
        }
    }

    #[test]
    fn places_to_listen_have_a_host_and_a_port() {
        for (text, host, port) in [
            ("localhost:1", "localhost", 1),
            ("[::1]:0", "::1", 0),
            ("[fd00::1]", "fd00::1", PORT),
            ("fd00::1", "fd00::1", PORT),
            (":5", "::", 5),
            ("0.0.0.0", "0.0.0.0", PORT),
            ("m.example.com", "m.example.com", PORT),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!((listen.host.as_str(), listen.port), (host, port), "{text}");
            assert_eq!(listen.to_string().parse::<Listen>(), Ok(listen));
        }
        for bad in [
            "",
            "h:",
            "h:x",
            "h:70000",
            "[::1",
            "[h]x",
            "https://h:1",
            "a b:1",
            "u@h:1",
        ] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_unsafe_or_makes_no_sense_is_refused() {
        for (file, expected) in [
            ("plain = 0.0.0.0:80", "can be reached from other machines"),
            ("plain = :80", "can be reached from other machines"),
            ("listen = nowhere:x", "is no place to listen"),
            ("trusted_proxy = haproxy", "is no IP address"),
            ("public_url = ftp://h", "is no http or https URL"),
            ("public_url = https://u@h", "is no http or https URL"),
            ("public_url = https:///x", "is no http or https URL"),
            ("certificate = /c", "belong together"),
            ("database = mysql://", "a database is given as"),
        ] {
            let error = resolve(&Given::default(), &format!("[master]\n{file}\n")).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        for file in [
            "plain = 127.0.0.1:80",
            "plain = localhost:80",
            "plain = [::1]:80",
            "plain = :80\ntrusted_proxy = 10.0.0.2",
        ] {
            resolve(&Given::default(), &format!("[master]\n{file}\n")).unwrap();
        }
    }

    #[test]
    fn a_url_names_its_host() {
        for (url, host) in [
            ("https://m.example.com:8443", "m.example.com"),
            ("https://[fd00::1]:8443/slap", "fd00::1"),
            ("http://10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(host_of(&public_url(url).unwrap()), Some(host));
        }
    }
}
