//! What a client's configuration file says (C 2.3): the Master, who one is, whom to trust, aliases.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use slap::config::{Config, ConfigError};

use crate::transport::{Settings, Trust};

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A client's configuration.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The file it was read from.
    pub file: PathBuf,
    /// How to reach the Master.
    pub settings: Settings,
    /// Where its hypermedia documents begin, when the file says so.
    pub rest_url: Option<String>,
    /// Names of releases of one's own, and their URLs.
    pub aliases: BTreeMap<String, String>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// There is no such file.
    #[error("Configuration file does not exist: {}", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// It cannot be read.
    #[error("Cannot read configuration file {}: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is no configuration.
    #[error("Cannot parse {}: {source}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, and what is wrong with it.
        source: ConfigError,
    },
    /// It names no Master.
    #[error("No option `master_url` in section [slapos] of {}", file.display())]
    NoMaster {
        /// The file.
        file: PathBuf,
    },
    /// A Master behind https, and nothing to show to it.
    #[error("No option `key_file` and `cert_file` in {}, which an https Master needs", file.display())]
    NoIdentity {
        /// The file.
        file: PathBuf,
    },
    /// A certificate without its key, or the other way round.
    #[error("{} has the option `{given}` but not `{missing}`; they belong together", file.display())]
    HalfIdentity {
        /// The file.
        file: PathBuf,
        /// What is there.
        given: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// An alias that is none.
    #[error("{}: `{line}` is no alias; write a name, a blank and a URL", file.display())]
    Alias {
        /// The file.
        file: PathBuf,
        /// The line.
        line: String,
    },
    /// A name with two meanings.
    #[error("{}: the alias `{name}` is given twice", file.display())]
    AliasTwice {
        /// The file.
        file: PathBuf,
        /// The name.
        name: String,
    },
}

impl Profile {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`ProfileError`]
    pub fn read(file: &Path) -> Result<Profile, ProfileError> {
        let unreadable = |reason: String| ProfileError::Unreadable {
            file: file.to_owned(),
            reason,
        };
        let mut bytes = Vec::new();
        File::open(file)
            .and_then(|open| open.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => ProfileError::Missing {
                    file: file.to_owned(),
                },
                _ => unreadable(error.to_string()),
            })?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(unreadable(format!(
                "it has more than {FILE_BYTES_MAX} bytes, which no configuration has"
            )));
        }
        let text =
            String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8 text".to_owned()))?;
        Profile::parse(&text, file)
    }

    /// Reads the text of a configuration. `file` is for messages.
    ///
    /// # Errors
    /// [`ProfileError`]
    pub fn parse(text: &str, file: &Path) -> Result<Profile, ProfileError> {
        let syntax = |source| ProfileError::Syntax {
            file: file.to_owned(),
            source,
        };
        let config = Config::parse(text).map_err(syntax)?;
        let get = |section: &str, option: &str| -> Result<Option<String>, ProfileError> {
            let value = config.get(section, option).map_err(syntax)?;
            Ok(value.filter(|value| !value.is_empty()))
        };
        let either = |option: &str| -> Result<Option<PathBuf>, ProfileError> {
            let value = match get("slapconsole", option)? {
                Some(value) => Some(value),
                None => get("slapos", option)?,
            };
            Ok(value.map(|value| expand_home(Path::new(&value))))
        };
        let master_url = get("slapos", "master_url")?.ok_or_else(|| ProfileError::NoMaster {
            file: file.to_owned(),
        })?;
        let half = |given, missing| ProfileError::HalfIdentity {
            file: file.to_owned(),
            given,
            missing,
        };
        let certificate = match (either("cert_file")?, either("key_file")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) if master_url.starts_with("https://") => {
                return Err(ProfileError::NoIdentity {
                    file: file.to_owned(),
                });
            }
            (None, None) => None,
            (Some(_), None) => return Err(half("cert_file", "key_file")),
            (None, Some(_)) => return Err(half("key_file", "cert_file")),
        };
        let verified = get("slapos", "master_tls_verify")?
            .is_none_or(|word| !word.eq_ignore_ascii_case("false"));
        let trust = match either("master_ca_file")? {
            _ if !verified => Trust::Insecure,
            Some(file) => Trust::CaFile(file),
            None => Trust::WebRoots,
        };
        Ok(Profile {
            settings: Settings {
                certificate,
                trust,
                ..Settings::new(&master_url)
            },
            rest_url: get("slapos", "master_rest_url")?,
            aliases: aliases(&config, file)?,
            file: file.to_owned(),
        })
    }
}

/// The aliases of `[slapconsole]`: the indented lines of its option `alias`; and, where that option
/// is there, lines that are not indented, which this dialect reads as `name scheme: //rest` (C 2.3).
fn aliases(config: &Config, file: &Path) -> Result<BTreeMap<String, String>, ProfileError> {
    const SECTION: &str = "slapconsole";
    let Some(block) = config.get_raw(SECTION, "alias") else {
        return Ok(BTreeMap::new());
    };
    let mut found = BTreeMap::new();
    let mut add = |name: &str, url: String| match found.insert(name.to_owned(), url) {
        None => Ok(()),
        Some(_) => Err(ProfileError::AliasTwice {
            file: file.to_owned(),
            name: name.to_owned(),
        }),
    };
    // Nothing is interpolated: URLs are full of percent signs, and nobody writes them twice.
    for line in block.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        match line.split_once(char::is_whitespace) {
            Some((name, url)) if !url.trim().contains(char::is_whitespace) => {
                add(name, url.trim().to_owned())?;
            }
            _ => {
                return Err(ProfileError::Alias {
                    file: file.to_owned(),
                    line: line.to_owned(),
                });
            }
        }
    }
    for (key, value) in config.raw_options(SECTION) {
        if let Some((name, scheme)) = key.split_once(char::is_whitespace)
            && let scheme = scheme.trim()
            && matches!(scheme, "http" | "https" | "file")
            && value.starts_with("//")
        {
            add(name, format!("{scheme}:{value}"))?;
        }
    }
    Ok(found)
}

/// `~` and `~/…` as the shell would have them.
pub fn expand_home(path: &Path) -> PathBuf {
    match path.strip_prefix("~") {
        Ok(rest) => home().join(rest),
        Err(_) => path.to_path_buf(),
    }
}

/// The user's home directory.
pub fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> Result<Profile, ProfileError> {
        Profile::parse(text, Path::new("slapos-client.cfg"))
    }

    const MASTER: &str = "[slapos]\nmaster_url = http://127.0.0.1:5000\n";

    #[test]
    fn the_console_section_wins_over_the_common_one() {
        let profile = parse(
            "[slapos]\nmaster_url = https://m/\ncert_file = /a\nkey_file = /b\n\
             master_rest_url = https://m/h\nmaster_ca_file = /ca\n\
             [slapconsole]\ncert_file = /c\nkey_file = /d\n",
        )
        .unwrap();
        let pair = Some((PathBuf::from("/c"), PathBuf::from("/d")));
        assert_eq!(profile.settings.certificate, pair);
        assert_eq!(profile.settings.trust, Trust::CaFile("/ca".into()));
        assert_eq!(profile.rest_url.as_deref(), Some("https://m/h"));
    }

    #[test]
    fn aliases_are_read_indented_and_as_the_tutorial_prints_them() {
        let url =
            "https://lab.nexedi.com/nexedi/slapos/raw/1.0.49/software/slaprunner/software.cfg";
        for text in [
            format!("[slapconsole]\nalias =\n  webrunner   {url}\n  x%20y /a/b%20c.cfg\n"),
            format!("[slapconsole]\nalias =\nwebrunner {url}\n"),
            format!("[slapconsole]\nalias = webrunner {url}\n"),
        ] {
            let profile = parse(&format!("{MASTER}{text}")).unwrap();
            assert_eq!(profile.aliases["webrunner"], url, "{text}");
        }
        let both = format!("{MASTER}[slapconsole]\nalias =\n  a http://a\nb https://b?c=d\n");
        let aliases = parse(&both).unwrap().aliases;
        assert_eq!(aliases["a"], "http://a");
        assert_eq!(aliases["b"], "https://b?c=d");
        // Without the option, such a line is an option as any other.
        assert!(
            parse(&format!("{MASTER}[slapconsole]\nb https://b\n"))
                .unwrap()
                .aliases
                .is_empty()
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("[slapconsole]\n", "No option `master_url`"),
            (
                "[slapos]\nmaster_url = https://m\n",
                "which an https Master needs",
            ),
            (
                "[slapos]\nmaster_url = https://m\nkey_file = /k\n",
                "but not `cert_file`",
            ),
            ("nonsense\n", "line 1"),
            (
                "[slapos]\nmaster_url = http://m\n[slapconsole]\nalias =\n  alone\n",
                "`alone` is no alias",
            ),
            (
                "[slapos]\nmaster_url = http://m\n[slapconsole]\nalias =\n  a http://x\n  a http://y\n",
                "`a` is given twice",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
        let missing = Profile::read(Path::new("/nowhere/x.cfg")).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "Configuration file does not exist: /nowhere/x.cfg"
        );
    }
}
