//! `slapos proxy start|show` (C 1.8).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use proxy::{Overrides, Selection, Settings, Shutdown, Table};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde_json::{Map, Value as Json};
use slap::config::Config;

use crate::args::proxy::{Proxy, Show, Start};
use crate::failure::Failure;
use crate::{CommandResult, output, settings};

pub(crate) fn run(command: Proxy) -> CommandResult {
    match command {
        Proxy::Start(arguments) => start(&arguments),
        Proxy::Show(arguments) => show(&arguments),
    }
}

fn start(arguments: &Start) -> CommandResult {
    if arguments.with_parent {
        set_parent_process_death_signal(Some(Signal::TERM)).map_err(std::io::Error::from)?;
    }
    let settings = read(
        arguments.cfg.as_deref(),
        arguments.database_uri.as_ref(),
        &Overrides {
            database_uri: arguments.database_uri.clone(),
            host: arguments.host.clone(),
            port: arguments.port.map(|port| port.to_string()),
            local_software_release_root: arguments
                .local_software_release_root
                .as_ref()
                .map(|path| path.display().to_string()),
            computer_id: None,
            allow_remote: arguments.allow_remote,
        },
    )?;
    proxy::serve(&settings, &Shutdown::new(), |address| {
        tracing::info!("the Master answers at http://{address}/");
    })
    .map_err(|error| Failure::of(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// The settings of the file, or of the options alone where these say where the database is and
/// there is no file.
fn read(
    cfg: Option<&Path>,
    database: Option<&String>,
    overrides: &Overrides,
) -> Result<Settings, Failure> {
    let file = settings::node_file(cfg);
    let config = if cfg.is_none() && database.is_some() && !file.exists() {
        Config::default()
    } else {
        settings::read(&file)?
    };
    Settings::from_config(&config, overrides)
        .map_err(|error| Failure::new(format!("{}: {error}", file.display())))
}

fn show(arguments: &Show) -> CommandResult {
    let overrides = Overrides {
        database_uri: arguments.database_uri.clone(),
        ..Overrides::default()
    };
    let settings = read(
        arguments.cfg.as_deref(),
        arguments.database_uri.as_ref(),
        &overrides,
    )?;
    let all = !(arguments.computers
        || arguments.software
        || arguments.partitions
        || arguments.slaves
        || arguments.params
        || arguments.network);
    let database: PathBuf = settings.database;
    let tables = proxy::show(
        &database,
        Selection {
            computers: all || arguments.computers,
            software: all || arguments.software,
            partitions: all || arguments.partitions,
            slaves: all || arguments.slaves,
            params: all || arguments.params,
            network: all || arguments.network,
        },
    )
    .map_err(|error| Failure::of(&error))?;
    let names = tables.iter().map(|table| table.title.as_str());
    output::answer(Some(arguments.output), &as_json(&tables), names, || {
        let mut text = format!("Using database: {}", database.display());
        for table in &tables {
            let rows = output::table(&table.columns, table.rows.clone());
            text.push_str(&format!("\n\n{}\n{rows}", table.title));
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(tables: &[Table]) -> Json {
    let tables: Map<String, Json> = tables
        .iter()
        .map(|table| {
            let rows = table
                .rows
                .iter()
                .map(|row| {
                    let cells: Map<String, Json> = table
                        .columns
                        .iter()
                        .zip(row)
                        .map(|(column, cell)| (column.to_string(), Json::from(cell.as_str())))
                        .collect();
                    Json::Object(cells)
                })
                .collect();
            (table.title.clone(), Json::Array(rows))
        })
        .collect();
    Json::Object(tables)
}
