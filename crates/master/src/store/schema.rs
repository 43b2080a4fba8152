//! Steps of the schema. A step, once released, never changes: a new one is added.

use super::sql::{Connection, SqlError, params};

/// The steps, the first one making an empty database ours.
const STEPS: [&str; 5] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
];

/// The schema this program works with.
pub const VERSION: i64 = STEPS.len() as i64;

/// Asks for the schema a database has.
pub(crate) const VERSION_SQL: &str = "SELECT value FROM setting WHERE name = 'schema'";

/// What a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Empty,
    /// Our schema, in this version.
    Version(i64),
    /// Tables that are not ours.
    Foreign,
}

/// Looks at what a database holds.
pub(crate) fn found(connection: &mut Connection) -> Result<Found, SqlError> {
    let tables = connection.tables()?;
    if tables.is_empty() {
        return Ok(Found::Empty);
    }
    if !tables.iter().any(|table| table == "setting")
        || !tables.iter().any(|table| table == "upgrade_decision")
    {
        return Ok(Found::Foreign);
    }
    let version = setting(connection, "schema")?;
    Ok(version
        .and_then(|text| text.parse().ok())
        .map_or(Found::Foreign, Found::Version))
}

/// Brings the schema up to date, within the transaction under way.
pub(crate) fn upgrade(connection: &mut Connection, from: i64) -> Result<(), SqlError> {
    let dialect = connection.dialect();
    for step in STEPS.iter().skip(usize::try_from(from).unwrap_or(0)) {
        connection.script(&dialect.schema(step))?;
    }
    set_setting(connection, "schema", &VERSION.to_string())
}

/// A setting of the database.
pub(crate) fn setting(connection: &mut Connection, name: &str) -> Result<Option<String>, SqlError> {
    connection
        .one("SELECT value FROM setting WHERE name = ?1", params![name])?
        .map(|row| row.text(0).map(str::to_owned))
        .transpose()
}

/// Changes a setting of the database.
pub(crate) fn set_setting(
    connection: &mut Connection,
    name: &str,
    value: &str,
) -> Result<(), SqlError> {
    connection.execute(
        "INSERT INTO setting (name, value) VALUES (?1, ?2) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        params![name, value],
    )?;
    Ok(())
}
