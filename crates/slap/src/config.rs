//! The dialect of `slapos.cfg`: Python's `ConfigParser` (N 1.1, C 2.2).
//!
//! Keys are lower-cased, values may go on in indented lines, `[DEFAULT]` is inherited, `%(name)s`
//! is interpolated and `%%` is a percent sign. Errors name the line.

use std::collections::BTreeMap;

/// How deep `%(name)s` may refer to values that refer again.
const INTERPOLATION_DEPTH_MAX: usize = 10;

/// How many `%(name)s` one value may need, those of the values it refers to included.
const INTERPOLATIONS_MAX: usize = 10_000;

/// How long a value may become by interpolation, in bytes. Values that refer to values multiply.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// Why a configuration cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A line before any section.
    #[error("line {line}: `{text}` stands before any [section]")]
    NoSection {
        /// The line, from 1.
        line: usize,
        /// The line's text.
        text: String,
    },
    /// A line that is neither a section nor an option.
    #[error("line {line}: `{text}` is neither a [section] nor `key = value`")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The line's text.
        text: String,
    },
    /// A section given twice.
    #[error("line {line}: section [{section}] is given twice")]
    DuplicateSection {
        /// The line, from 1.
        line: usize,
        /// The section.
        section: String,
    },
    /// An option given twice.
    #[error("line {line}: option `{option}` in section [{section}] is given twice")]
    DuplicateOption {
        /// The line, from 1.
        line: usize,
        /// The section.
        section: String,
        /// The option.
        option: String,
    },
    /// A `%` that cannot be understood.
    #[error("option `{option}` in section [{section}]: {reason} (write `%%` for a percent sign)")]
    Interpolation {
        /// The section.
        section: String,
        /// The option.
        option: String,
        /// What is wrong.
        reason: String,
    },
}

/// A configuration file: sections of options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    defaults: BTreeMap<String, String>,
    sections: Vec<(String, Section)>,
}

/// The options of one section, in the order of the file, `[DEFAULT]` not included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Section {
    options: Vec<(String, String)>,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ConfigError`] names the line. Interpolation is checked when a value is asked for.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        Parser::default().run(text)
    }

    /// The sections' names in the order of the file.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|(name, _)| name.as_str())
    }

    /// Whether the section is there.
    pub fn has_section(&self, section: &str) -> bool {
        self.section(section).is_some()
    }

    /// An option's value, interpolated; `None` when the section or the option is not there.
    ///
    /// # Errors
    /// [`ConfigError::Interpolation`] when a `%` in it cannot be understood.
    pub fn get(&self, section: &str, option: &str) -> Result<Option<String>, ConfigError> {
        let option = option.to_lowercase();
        match self.raw(section, &option) {
            Some(raw) if !raw.contains('%') => Ok(Some(raw.to_owned())),
            Some(raw) => {
                let mut value = Interpolated::default();
                match self.interpolate(section, raw, 0, &mut value) {
                    Ok(()) => Ok(Some(value.text)),
                    Err(reason) => Err(ConfigError::Interpolation {
                        section: section.to_owned(),
                        option,
                        reason,
                    }),
                }
            }
            None => Ok(None),
        }
    }

    /// An option's value without interpolation.
    pub fn get_raw(&self, section: &str, option: &str) -> Option<&str> {
        self.raw(section, &option.to_lowercase())
    }

    /// All options of a section with their values, `[DEFAULT]` included; empty when there is no
    /// such section.
    ///
    /// # Errors
    /// [`ConfigError::Interpolation`] when a `%` in one of them cannot be understood.
    pub fn options(&self, section: &str) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(found) = self.section(section) else {
            return Ok(BTreeMap::new());
        };
        self.defaults
            .keys()
            .chain(found.options.iter().map(|(key, _)| key))
            .filter_map(|key| {
                let value = self.get(section, key).transpose()?;
                Some(value.map(|value| (key.clone(), value)))
            })
            .collect()
    }

    /// The options of a section as they stand in the file, in its order, nothing interpolated.
    pub fn raw_options(&self, section: &str) -> impl Iterator<Item = (&str, &str)> {
        self.section(section)
            .into_iter()
            .flat_map(|section| &section.options)
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn section(&self, name: &str) -> Option<&Section> {
        self.sections
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, section)| section)
    }

    fn raw(&self, section: &str, option: &str) -> Option<&str> {
        let found = self.section(section)?;
        found
            .options
            .iter()
            .find(|(key, _)| key == option)
            .map(|(_, value)| value.as_str())
            .or_else(|| self.defaults.get(option).map(String::as_str))
    }

    /// Appends a raw value; the error says what is wrong with it.
    fn interpolate(
        &self,
        section: &str,
        raw: &str,
        depth: usize,
        value: &mut Interpolated,
    ) -> Result<(), String> {
        if depth >= INTERPOLATION_DEPTH_MAX {
            return Err("values refer to each other without end".to_owned());
        }
        let mut rest = raw;
        while let Some(position) = rest.find('%') {
            value.push(&rest[..position])?;
            let after = &rest[position + 1..];
            if let Some(tail) = after.strip_prefix('%') {
                value.push("%")?;
                rest = tail;
            } else if let Some(tail) = after.strip_prefix('(') {
                let (name, tail) = tail
                    .split_once(")s")
                    .ok_or_else(|| "`%(` without its `)s`".to_owned())?;
                let name = name.to_lowercase();
                let referred = self
                    .raw(section, &name)
                    .ok_or_else(|| format!("`%({name})s` refers to no option"))?;
                value.refer()?;
                self.interpolate(section, referred, depth + 1, value)?;
                rest = tail;
            } else {
                let found: String = after.chars().take(8).collect();
                return Err(format!("`%{found}` cannot be understood"));
            }
        }
        value.push(rest)
    }
}

/// A value that is being put together.
#[derive(Default)]
struct Interpolated {
    text: String,
    references: usize,
}

impl Interpolated {
    fn push(&mut self, text: &str) -> Result<(), String> {
        if self.text.len() + text.len() > VALUE_BYTES_MAX {
            return Err(format!("the value exceeds {VALUE_BYTES_MAX} bytes"));
        }
        self.text.push_str(text);
        Ok(())
    }

    fn refer(&mut self) -> Result<(), String> {
        self.references += 1;
        if self.references > INTERPOLATIONS_MAX {
            return Err(format!(
                "the value refers to more than {INTERPOLATIONS_MAX} values"
            ));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Parser {
    config: Config,
    /// Whether the current section is `[DEFAULT]`.
    in_defaults: bool,
    /// The option whose value may go on, and the indentation of its first line.
    open: Option<(String, usize)>,
    lines: Vec<String>,
}

impl Parser {
    fn run(mut self, text: &str) -> Result<Config, ConfigError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            self.line(index + 1, line)?;
        }
        self.close();
        Ok(self.config)
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), ConfigError> {
        let trimmed = line.trim();
        let indentation = line.len() - line.trim_start().len();
        if trimmed.starts_with('#') || trimmed.starts_with(';') {
            return Ok(());
        }
        if trimmed.is_empty() {
            // An empty line inside a value belongs to it; trailing ones are dropped in `close`.
            if self.open.is_some() {
                self.lines.push(String::new());
            }
            return Ok(());
        }
        if let Some((_, first)) = &self.open
            && indentation > *first
        {
            self.lines.push(trimmed.to_owned());
            return Ok(());
        }
        self.close();
        if let Some(name) = trimmed
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
            .map(|(name, _)| name)
        {
            return self.begin_section(number, name);
        }
        let in_section = self.in_defaults || !self.config.sections.is_empty();
        if !in_section {
            return Err(ConfigError::NoSection {
                line: number,
                text: clip(trimmed),
            });
        }
        let (key, value) = trimmed
            .find(['=', ':'])
            .map(|at| (trimmed[..at].trim(), trimmed[at + 1..].trim()))
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| ConfigError::Syntax {
                line: number,
                text: clip(trimmed),
            })?;
        self.begin_option(number, key.to_lowercase(), value, indentation)
    }

    fn begin_section(&mut self, line: usize, name: &str) -> Result<(), ConfigError> {
        self.in_defaults = name == "DEFAULT";
        if self.in_defaults {
            return Ok(());
        }
        if self.config.has_section(name) {
            return Err(ConfigError::DuplicateSection {
                line,
                section: name.to_owned(),
            });
        }
        self.config
            .sections
            .push((name.to_owned(), Section::default()));
        Ok(())
    }

    fn begin_option(
        &mut self,
        line: usize,
        key: String,
        value: &str,
        indentation: usize,
    ) -> Result<(), ConfigError> {
        let (section, known) = if self.in_defaults {
            ("DEFAULT", self.config.defaults.contains_key(&key))
        } else {
            self.config.sections.last().map_or(("", false), |section| {
                let known = section.1.options.iter().any(|(other, _)| *other == key);
                (section.0.as_str(), known)
            })
        };
        if known {
            return Err(ConfigError::DuplicateOption {
                line,
                section: section.to_owned(),
                option: key,
            });
        }
        self.open = Some((key, indentation));
        self.lines.push(value.to_owned());
        Ok(())
    }

    fn close(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if let Some((key, _)) = self.open.take() {
            let value = lines.join("\n").trim_end().to_owned();
            if self.in_defaults {
                self.config.defaults.insert(key, value);
            } else if let Some((_, section)) = self.config.sections.last_mut() {
                section.options.push((key, value));
            }
        }
    }
}

/// The non-empty lines of a multi-line value, trimmed.
pub fn lines(value: &str) -> impl Iterator<Item = &str> {
    value.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const EXAMPLE: &str = "\
# a comment
[DEFAULT]
root = /srv

[slapos]
Master_URL = http://[::1]:5000/
software_root: %(root)s/soft
list =
  one

  # not this
  two
percent = 100%%
[networkcache]
signature-certificate-list =
  -----BEGIN-----
    abc
";

    #[test]
    fn the_dialect() {
        let config = Config::parse(EXAMPLE).unwrap();
        let get = |option: &str| config.get("slapos", option).unwrap();
        assert_eq!(get("master_url").as_deref(), Some("http://[::1]:5000/"));
        assert_eq!(get("MASTER_URL").as_deref(), Some("http://[::1]:5000/"));
        assert_eq!(get("software_root").as_deref(), Some("/srv/soft"));
        assert_eq!(get("list").as_deref(), Some("\none\n\ntwo"));
        assert_eq!(
            lines(&get("list").unwrap()).collect::<Vec<_>>(),
            ["one", "two"]
        );
        assert_eq!(get("percent").as_deref(), Some("100%"));
        assert_eq!(get("absent"), None);
        assert_eq!(config.get("nowhere", "root").unwrap(), None);
        assert_eq!(
            config.sections().collect::<Vec<_>>(),
            ["slapos", "networkcache"]
        );
        assert!(config.options("slapos").unwrap().contains_key("root"));
    }

    #[test]
    fn mistakes_name_their_line() {
        let cases = [
            ("a = b\n", "line 1: `a = b` stands before any [section]"),
            (
                "[s]\njunk\n",
                "line 2: `junk` is neither a [section] nor `key = value`",
            ),
            ("[s]\n[s]\n", "line 2: section [s] is given twice"),
            (
                "[s]\na = 1\nA = 2\n",
                "line 3: option `a` in section [s] is given twice",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(Config::parse(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_percent_sign_must_make_sense() {
        let config =
            Config::parse("[s]\na = x%20y\nb = %(c)s\nd = %(e)s\ne = %(d)s\nf = %(a\n").unwrap();
        for option in ["a", "b", "d", "f"] {
            assert!(config.get("s", option).is_err(), "{option}");
        }
        assert_eq!(config.get_raw("s", "a"), Some("x%20y"));
    }

    #[test]
    fn values_that_refer_to_values_do_not_multiply_without_end() {
        // Ten to the eighth characters from three hundred.
        let mut text = "[s]\nv0 = aaaaaaaaaa\n".to_owned();
        for level in 1..8 {
            let references = format!("%(v{})s", level - 1).repeat(10);
            text.push_str(&format!("v{level} = {references}\n"));
        }
        let config = Config::parse(&text).unwrap();
        assert_eq!(config.get("s", "v3").unwrap().unwrap().len(), 10_000);
        assert!(config.get("s", "v7").is_err());
        // Nor do values that end up empty.
        let empty = text.replace("aaaaaaaaaa", "");
        let config = Config::parse(&empty.replace("v7", "v7 = \nv8")).unwrap();
        assert!(config.get("s", "v8").is_err());
    }
}
