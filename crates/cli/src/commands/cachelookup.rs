//! `slapos cachelookup` (N 6.7).

use std::process::ExitCode;

use node::network_cache::{
    CacheDirectory, CacheError, CacheKind, Entry, MachineKind, binary_key, pypi_key, url_key,
};
use serde_json::{Value as Json, json};

use crate::args::cachelookup::{CacheLookup, LookupOptions};
use crate::failure::Failure;
use crate::{CommandResult, output, settings};

/// What is shown of entries: column names, and the values of each.
struct Shown {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// Said before the table.
    about: Vec<String>,
}

pub(crate) fn run(command: CacheLookup) -> CommandResult {
    match command {
        CacheLookup::BinarySr(arguments) => {
            let key = binary_key(&arguments.software_url);
            let (_, entries) = look(&arguments.options, CacheKind::Binary, &key)?;
            answer(&arguments.options, &entries, binary(&entries, &key))
        }
        CacheLookup::Url(arguments) => {
            let key = url_key(&arguments.url);
            let (place, entries) = look(&arguments.options, CacheKind::Source, &key)?;
            let about = vec![
                format!("Software source URL: {}", arguments.url),
                format!("SHADIR URL: {place}"),
            ];
            answer(&arguments.options, &entries, source(&entries, "url", about))
        }
        CacheLookup::Pypi(arguments) => {
            let key = pypi_key(&arguments.name, &arguments.version);
            let (place, entries) = look(&arguments.options, CacheKind::Source, &key)?;
            let about = vec![
                format!(
                    "Python egg {} version {}",
                    arguments.name, arguments.version
                ),
                format!("SHADIR URL: {place}"),
            ];
            answer(
                &arguments.options,
                &entries,
                source(&entries, "basename", about),
            )
        }
    }
}

fn look(
    options: &LookupOptions,
    kind: CacheKind,
    key: &str,
) -> Result<(String, Vec<Entry>), Failure> {
    let file = settings::node_file(options.cfg.as_deref());
    let failed = |error: CacheError| Failure::of(&error);
    let directory = CacheDirectory::load(&file, kind).map_err(failed)?;
    let place = directory.url_of(key);
    match directory.entries(key).map_err(failed)? {
        Some(entries) => Ok((place, entries)),
        None => Err(Failure::new("Object not found in cache.").hint(format!("asked {place}"))),
    }
}

fn text(entry: &Entry, name: &str) -> String {
    let value = entry.fields.get(name).and_then(Json::as_str);
    value.unwrap_or_default().to_owned()
}

fn binary(entries: &[Entry], key: &str) -> Shown {
    let here = MachineKind::here();
    let word = |yes| if yes { "yes" } else { "no" }.to_owned();
    let mut rows: Vec<Vec<String>> = entries
        .iter()
        .filter_map(|entry| {
            let kind = MachineKind::of(entry)?;
            let fits = kind.is_compatible_with(&here);
            let mut row = vec![kind.multiarch];
            row.extend(kind.os);
            row.extend([word(fits), word(entry.verified)]);
            Some(row)
        })
        .collect();
    rows.sort();
    let url = entries
        .first()
        .map(|entry| text(entry, "software_url"))
        .unwrap_or_default();
    Shown {
        heads: vec![
            "multiarch",
            "distribution",
            "version",
            "id",
            "compatible?",
            "verified?",
        ],
        rows,
        about: vec![
            format!("Software URL: {url}"),
            format!("MD5:          {key}"),
        ],
    }
}

fn source(entries: &[Entry], first: &'static str, about: Vec<String>) -> Shown {
    Shown {
        heads: vec![first, "sha512", "signed"],
        rows: entries
            .iter()
            .map(|entry| {
                let signed = if entry.verified { "True" } else { "False" };
                vec![text(entry, first), text(entry, "sha512"), signed.to_owned()]
            })
            .collect(),
        about,
    }
}

fn answer(options: &LookupOptions, entries: &[Entry], shown: Shown) -> CommandResult {
    let list: Vec<Json> = entries
        .iter()
        .map(|entry| json!({"entry": entry.fields, "verified": entry.verified}))
        .collect();
    let names: Vec<String> = entries.iter().map(|entry| text(entry, "sha512")).collect();
    let format = options.output.unwrap_or(crate::args::OutputFormat::Table);
    output::answer(Some(format), &Json::Array(list), names, || {
        let mut lines = shown.about;
        if shown.rows.is_empty() {
            lines = vec!["Object found in cache, but has no entry.".to_owned()];
        } else {
            lines.push(output::table(&shown.heads, shown.rows));
        }
        lines.join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}
