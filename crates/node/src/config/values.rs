//! Options as text, and the kinds of value they can have (N 1.1, 1.2).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use slap::config::Config;

use super::{ConfigError, Overrides};

const COMMAND_LINE: &str = "command line";

/// Merged options and where each came from.
#[derive(Debug)]
pub(crate) struct Values {
    file: PathBuf,
    /// The section a missing option belongs in.
    section: &'static str,
    options: BTreeMap<String, String>,
    given: BTreeMap<String, String>,
}

impl Values {
    /// Merges sections, later ones winning, and the command line over all of them.
    pub(crate) fn new(
        file: &Path,
        section: &'static str,
        config: &Config,
        sections: &[&str],
        overrides: &Overrides,
    ) -> Result<Values, ConfigError> {
        let mut options = BTreeMap::new();
        for name in sections {
            options.extend(config.options(name).map_err(|source| ConfigError::Syntax {
                file: file.to_owned(),
                source,
            })?);
        }
        Ok(Values {
            file: file.to_owned(),
            section,
            options,
            given: overrides.0.clone(),
        })
    }

    /// The file the options are from.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    fn get(&self, option: &str) -> Option<&str> {
        self.given
            .get(option)
            .or_else(|| self.options.get(option))
            .map(String::as_str)
            .filter(|value| !value.trim().is_empty())
    }

    /// The value, or empty text.
    pub(crate) fn text(&self, option: &str) -> String {
        self.get(option).unwrap_or_default().to_owned()
    }

    pub(crate) fn optional(&self, option: &str) -> Option<String> {
        self.get(option).map(str::to_owned)
    }

    pub(crate) fn required(&self, option: &str) -> Result<String, ConfigError> {
        self.get(option)
            .map(str::to_owned)
            .ok_or_else(|| self.missing(option))
    }

    /// A path, `~` expanded, made absolute.
    pub(crate) fn path(&self, option: &str) -> Result<Option<PathBuf>, ConfigError> {
        let Some(text) = self.get(option) else {
            return Ok(None);
        };
        let expanded = match (text.strip_prefix("~/"), std::env::home_dir()) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(text),
        };
        std::path::absolute(&expanded)
            .map(Some)
            .map_err(|error| self.error(option, error.to_string()))
    }

    pub(crate) fn required_path(&self, option: &str) -> Result<PathBuf, ConfigError> {
        self.path(option)?.ok_or_else(|| self.missing(option))
    }

    pub(crate) fn number<T: FromStr>(&self, option: &str) -> Result<Option<T>, ConfigError> {
        self.get(option)
            .map(|text| {
                text.trim()
                    .parse()
                    .map_err(|_| self.error(option, format!("`{text}` is not a whole number")))
            })
            .transpose()
    }

    /// A positive number of seconds.
    pub(crate) fn seconds(&self, option: &str) -> Result<Option<Duration>, ConfigError> {
        match self.number::<u64>(option)? {
            Some(0) => Err(self.error(option, "must be at least 1 second".to_owned())),
            other => Ok(other.map(Duration::from_secs)),
        }
    }

    pub(crate) fn bool(&self, option: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(option).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(default),
            Some("true" | "yes" | "on" | "1") => Ok(true),
            Some("false" | "no" | "off" | "0") => Ok(false),
            Some(other) => {
                Err(self.error(option, format!("`{other}` is neither `true` nor `false`")))
            }
        }
    }

    /// A size in bytes; 1000M when not given, the default of both options there are.
    pub(crate) fn size(&self, option: &str) -> Result<u64, ConfigError> {
        let text = self.get(option).unwrap_or("1000M");
        parse_size(text).ok_or_else(|| {
            self.error(
                option,
                format!("`{text}` is not a size such as `1000M` or `1.5G`"),
            )
        })
    }

    pub(crate) fn missing(&self, option: &str) -> ConfigError {
        ConfigError::Missing {
            file: self.file.clone(),
            section: self.section,
            option: option.to_owned(),
        }
    }

    pub(crate) fn error(&self, option: &str, reason: String) -> ConfigError {
        let origin = if self.given.contains_key(option) {
            COMMAND_LINE.to_owned()
        } else {
            self.file.display().to_string()
        };
        ConfigError::Value {
            origin,
            option: option.to_owned(),
            reason,
        }
    }
}

/// Reads a size: a number and perhaps a unit, in powers of 1024 (N 1.2).
///
/// `1000M` = 1048576000, `1.5Gi` = 1610612736, `500` = 500 bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim();
    let exponent = UNITS.iter().position(|names| {
        let (short, long, binary) = *names;
        unit == short
            || unit.eq_ignore_ascii_case(long)
            || (!binary.is_empty()
                && (unit.eq_ignore_ascii_case(binary) || unit == format!("{short}i")))
    });
    let exponent = match (exponent, unit) {
        (Some(exponent), _) => exponent,
        (None, "") => 0,
        (None, "k" | "ki") => 1,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(i32::try_from(exponent).ok()?);
    (bytes.is_finite() && bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// Units in rising order: letter, word, binary word.
const UNITS: &[(&str, &str, &str)] = &[
    ("B", "byte", ""),
    ("K", "kilo", "kibi"),
    ("M", "mega", "mebi"),
    ("G", "giga", "gibi"),
    ("T", "tera", "tebi"),
    ("P", "peta", "pebi"),
    ("E", "exa", "exbi"),
    ("Z", "zetta", "zebi"),
    ("Y", "yotta", "yobi"),
];
