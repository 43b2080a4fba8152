//! The file syntax: sections, `key = value`, continuation lines, comments, `[include]`.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// No configuration file is larger.
const MAX_FILE: u64 = 4 << 20;
/// No configuration includes more files.
const MAX_FILES: usize = 20_000;

/// One section, keys in lower case and in order; a later equal key wins.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) file: PathBuf,
    keys: Vec<(String, String)>,
}

impl Section {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.keys
            .iter()
            .rev()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError::Section {
            section: self.name.clone(),
            path: self.file.clone(),
            reason: reason.into(),
        }
    }
}

/// All sections in order of first appearance; equal names are merged.
#[derive(Debug, Default, Clone)]
pub(super) struct Document {
    sections: Vec<Section>,
    index: std::collections::HashMap<String, usize>,
}

impl Document {
    /// Reads the main file, then what its `[include]` names.
    pub(super) fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut document = Self::load_main(path)?;
        document.load_included(path)?;
        Ok(document)
    }

    /// Reads the main file alone.
    pub(super) fn load_main(path: &Path) -> Result<Self, ConfigError> {
        let mut document = Self::default();
        document.add(path, &read(path)?)?;
        Ok(document)
    }

    fn load_included(&mut self, path: &Path) -> Result<(), ConfigError> {
        let Some(include) = self.find("include") else {
            return Ok(());
        };
        let here = path.parent().unwrap_or_else(|| Path::new("."));
        let Some(patterns) = include.get("files") else {
            return Err(include.error(".ini file has [include] section, but no files setting"));
        };
        let mut files = Vec::new();
        for pattern in patterns.split_whitespace() {
            let pattern = pattern.replace("%(here)s", &here.to_string_lossy());
            files.extend(expand_glob(&here.join(pattern))?);
        }
        if files.len() > MAX_FILES {
            return Err(ConfigError::TooLarge(format!(
                "{} includes {} files; at most {MAX_FILES} are read",
                path.display(),
                files.len()
            )));
        }
        for file in files {
            match read(&file) {
                Ok(text) => self.add(&file, &text)?,
                // Removed between the listing and now: as if it had never been listed.
                Err(ConfigError::Read { .. }) if !file.exists() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn find(&self, name: &str) -> Option<&Section> {
        self.index.get(name).and_then(|i| self.sections.get(*i))
    }

    pub(super) fn sections(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter()
    }

    fn open(&mut self, name: &str, file: &Path) -> usize {
        if let Some(index) = self.index.get(name) {
            return *index;
        }
        self.sections.push(Section {
            name: name.to_owned(),
            file: file.to_owned(),
            keys: Vec::new(),
        });
        self.index.insert(name.to_owned(), self.sections.len() - 1);
        self.sections.len() - 1
    }

    pub(super) fn add(&mut self, file: &Path, text: &str) -> Result<(), ConfigError> {
        let mut current: Option<usize> = None;
        let mut continuing = false;
        for (number, raw) in text.lines().enumerate() {
            let syntax = |reason: &str| ConfigError::Syntax {
                path: file.to_owned(),
                line: number + 1,
                reason: reason.into(),
            };
            let line = strip_comment(raw);
            let content = line.trim();
            if content.is_empty() {
                // An empty line keeps a value open, as configparser does; a comment line too.
                continue;
            }
            if line.starts_with([' ', '\t'])
                && continuing
                && let Some((_, value)) =
                    current.and_then(|i| self.sections.get_mut(i)?.keys.last_mut())
            {
                if !value.is_empty() {
                    value.push('\n');
                }
                value.push_str(content);
                continue;
            }
            if let Some(name) = content.strip_prefix('[') {
                let Some((name, _)) = name.split_once(']') else {
                    return Err(syntax(
                        "a section starts with '[' but does not end with ']'",
                    ));
                };
                current = Some(self.open(name, file));
                continuing = false;
                continue;
            }
            let Some(section) = current.and_then(|i| self.sections.get_mut(i)) else {
                return Err(syntax("a setting stands before the first [section]"));
            };
            let Some(at) = content.find(['=', ':']) else {
                return Err(syntax("expected 'key = value'"));
            };
            let key = content[..at].trim().to_lowercase();
            if key.is_empty() {
                return Err(syntax("a value without a key"));
            }
            section
                .keys
                .push((key, content[at + 1..].trim().to_owned()));
            continuing = true;
        }
        Ok(())
    }
}

/// Removes a whole-line comment, or one that follows white space.
fn strip_comment(line: &str) -> &str {
    let start = line.trim_start();
    if start.starts_with([';', '#']) {
        return "";
    }
    let mut blank = false;
    for (at, c) in line.char_indices() {
        if blank && (c == ';' || c == '#') {
            return &line[..at];
        }
        blank = c.is_whitespace();
    }
    line
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |reason: String| ConfigError::Read {
        path: path.to_owned(),
        reason,
    };
    let file = fs::File::open(path).map_err(|e| failed(e.to_string()))?;
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|e| failed(e.to_string()))?;
    if text.len() as u64 > MAX_FILE {
        return Err(ConfigError::TooLarge(format!(
            "{} is larger than {MAX_FILE} bytes",
            path.display()
        )));
    }
    Ok(text)
}

/// Files that a pattern with wildcards in its last component names, sorted.
fn expand_glob(pattern: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let Some(name) = pattern.file_name().and_then(|n| n.to_str()) else {
        return Ok(Vec::new());
    };
    if !name.contains(['*', '?']) {
        return Ok(if pattern.exists() {
            vec![pattern.to_owned()]
        } else {
            Vec::new()
        });
    }
    let directory = pattern.parent().unwrap_or_else(|| Path::new("."));
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(ConfigError::Read {
                path: directory.to_owned(),
                reason: error.to_string(),
            });
        }
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| ConfigError::Read {
            path: directory.to_owned(),
            reason: e.to_string(),
        })?;
        let file = entry.file_name();
        let Some(file) = file.to_str() else { continue };
        let hidden = file.starts_with('.') && !name.starts_with('.');
        if !hidden && matches_glob(name.as_bytes(), file.as_bytes()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// `*` and `?` only, in time proportional to the product of the lengths.
pub(super) fn matches_glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((sp, sn)) => {
                    star = Some((sp, sn + 1));
                    p = sp + 1;
                    n = sn + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}
