//! The database itself, read past the Master: what is there, and whether it agrees with itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::operation::{NodeRow, Row, Texts};
use crate::reference::SILENCE;

/// Where a Master keeps everything.
pub enum Database {
    Sqlite(PathBuf),
    Postgres(String),
}

/// A cell of a result.
#[derive(Debug, Clone)]
enum Cell {
    Nothing,
    Number(i64),
    Text(String),
}

impl Cell {
    fn number(&self) -> Option<i64> {
        match self {
            Cell::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }
}

const INSTANCES: &str = "SELECT i.id, i.tree_id, t.title, t.person_id, i.project_id, i.title, \
     i.requester_id, i.shared, r.url, i.software_type, i.parameters, i.sla, i.connection, i.state, \
     i.timestamp, i.host_id, i.reported, i.status_text, p.node_id, p.name \
     FROM instance i JOIN tree t ON t.id = i.tree_id JOIN release r ON r.id = i.release_id \
     LEFT JOIN partition p ON p.instance_id = i.id WHERE i.removed_at IS NULL ORDER BY i.id";

/// Queries that must find nothing, with what it would mean if they did.
const CONTRADICTIONS: [(&str, &str); 14] = [
    (
        "a partition holds what is no live ordinary instance",
        "SELECT p.id FROM partition p LEFT JOIN instance i ON i.id = p.instance_id \
         WHERE p.instance_id IS NOT NULL \
         AND (i.id IS NULL OR i.removed_at IS NOT NULL OR i.shared = 1 OR i.placed = 0)",
    ),
    (
        "an instance is on two partitions",
        "SELECT instance_id FROM partition WHERE instance_id IS NOT NULL \
         GROUP BY instance_id HAVING COUNT(*) > 1",
    ),
    (
        "an instance counts as placed and is nowhere",
        "SELECT i.id FROM instance i WHERE i.placed = 1 AND i.shared = 0 AND i.removed_at IS NULL \
         AND NOT EXISTS (SELECT 1 FROM partition p WHERE p.instance_id = i.id)",
    ),
    (
        "an instance that is gone counts as placed",
        "SELECT id FROM instance WHERE removed_at IS NOT NULL AND (placed = 1 OR host_id IS NOT NULL)",
    ),
    (
        "an instance that is gone is not destroyed",
        "SELECT id FROM instance WHERE removed_at IS NOT NULL AND state <> 'destroyed'",
    ),
    (
        "a shared instance is placed without a host, or the reverse",
        "SELECT id FROM instance WHERE shared = 1 AND removed_at IS NULL \
         AND placed <> (CASE WHEN host_id IS NULL THEN 0 ELSE 1 END)",
    ),
    (
        "an ordinary instance has a host",
        "SELECT id FROM instance WHERE shared = 0 AND host_id IS NOT NULL",
    ),
    (
        "a host is gone, shared, nowhere, or of another project",
        "SELECT i.id FROM instance i LEFT JOIN instance h ON h.id = i.host_id \
         WHERE i.host_id IS NOT NULL AND (h.id IS NULL OR h.removed_at IS NOT NULL OR h.shared = 1 \
         OR h.placed = 0 OR h.project_id <> i.project_id)",
    ),
    (
        "an instance is on a node of another project",
        "SELECT i.id FROM instance i JOIN partition p ON p.instance_id = i.id \
         JOIN node n ON n.id = p.node_id WHERE n.project_id <> i.project_id",
    ),
    (
        "the free partitions of a node are counted wrong",
        "SELECT n.id FROM node n WHERE n.removed_at IS NULL AND n.kind = 'compute' AND n.free <> \
         (SELECT COUNT(*) FROM partition p WHERE p.node_id = n.id AND p.active = 1 \
          AND p.instance_id IS NULL AND p.capabilities = '[]')",
    ),
    (
        "the used units of a node are counted wrong",
        "SELECT n.id FROM node n WHERE n.used <> (SELECT COALESCE(SUM(i.units), 0) FROM partition p \
         JOIN instance i ON i.id = p.instance_id WHERE p.node_id = n.id)",
    ),
    (
        "the order in which nodes are filled is wrong",
        "SELECT s.id FROM installation s JOIN node n ON n.id = s.node_id WHERE s.free <> \
         (CASE WHEN s.removed_at IS NULL AND n.removed_at IS NULL AND n.alive = 1 \
          AND n.scope = 'open' AND (n.capacity IS NULL OR n.used < n.capacity) \
          AND s.state = 'available' AND s.reported = 'available' THEN n.free ELSE 0 END)",
    ),
    (
        "a tree that is archived has an instance that shall live, or one that is not has no root",
        "SELECT t.id FROM tree t WHERE (t.archived_at IS NOT NULL AND EXISTS \
          (SELECT 1 FROM instance i WHERE i.tree_id = t.id AND i.removed_at IS NULL \
           AND i.state <> 'destroyed')) \
         OR (t.archived_at IS NULL AND 1 <> (SELECT COUNT(*) FROM instance i WHERE i.tree_id = t.id \
           AND i.removed_at IS NULL AND i.requester_id IS NULL))",
    ),
    (
        "an instance lives whose requester is gone or of another tree",
        "SELECT i.id FROM instance i LEFT JOIN instance r ON r.id = i.requester_id \
         WHERE i.removed_at IS NULL AND i.requester_id IS NOT NULL \
         AND (r.id IS NULL OR r.tree_id <> i.tree_id \
              OR (r.removed_at IS NOT NULL AND i.state <> 'destroyed'))",
    ),
];

enum Open {
    Sqlite(rusqlite::Connection),
    Postgres(postgres::Client),
}

/// A connection of one's own.
pub struct Backdoor(Open);

impl Backdoor {
    pub fn open(database: &Database) -> Backdoor {
        Backdoor(match database {
            Database::Sqlite(path) => Open::Sqlite(sqlite(path)),
            Database::Postgres(url) => Open::Postgres(
                postgres::Client::connect(url, postgres::NoTls).expect("PostgreSQL answers"),
            ),
        })
    }

    fn rows(&mut self, sql: &str) -> Vec<Vec<Cell>> {
        match &mut self.0 {
            Open::Sqlite(connection) => {
                let mut statement = connection
                    .prepare_cached(sql)
                    .expect("the statement is right");
                let columns = statement.column_count();
                let rows = statement.query_map([], |row| {
                    (0..columns)
                        .map(|column| {
                            Ok(match row.get_ref(column)? {
                                rusqlite::types::ValueRef::Null => Cell::Nothing,
                                rusqlite::types::ValueRef::Integer(number) => Cell::Number(number),
                                other => Cell::Text(other.as_str()?.to_owned()),
                            })
                        })
                        .collect()
                });
                let rows: rusqlite::Result<Vec<_>> = rows.and_then(Iterator::collect);
                rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
            }
            Open::Postgres(client) => {
                let rows = client
                    .query(sql, &[])
                    .unwrap_or_else(|error| panic!("{sql}: {error}"));
                rows.iter()
                    .map(|row| {
                        (0..row.len())
                            .map(|column| {
                                if row.columns()[column].type_() == &postgres::types::Type::INT8 {
                                    row.get::<_, Option<i64>>(column)
                                        .map_or(Cell::Nothing, Cell::Number)
                                } else {
                                    row.get::<_, Option<String>>(column)
                                        .map_or(Cell::Nothing, Cell::Text)
                                }
                            })
                            .collect()
                    })
                    .collect()
            }
        }
    }

    /// Every live instance, by its number.
    pub fn instances(&mut self) -> Vec<Row> {
        let texts = |cell: &Cell| -> Option<Texts> {
            cell.text()
                .map(|text| serde_json::from_str(text).expect("texts as JSON"))
        };
        self.rows(INSTANCES)
            .iter()
            .map(|cells| {
                let number = |index: usize| cells[index].number();
                let text = |index: usize| cells[index].text().unwrap_or_default().to_owned();
                Row {
                    key: number(0).expect("a key"),
                    tree: number(1).expect("a tree"),
                    root_title: text(2),
                    owner: number(3).expect("an owner"),
                    project: number(4).expect("a project"),
                    title: text(5),
                    requester: number(6),
                    shared: number(7) == Some(1),
                    release: text(8),
                    kind: text(9),
                    parameters: texts(&cells[10]).unwrap_or_default(),
                    sla: texts(&cells[11]).unwrap_or_default(),
                    connection: texts(&cells[12]),
                    state: text(13).parse().expect("a state"),
                    timestamp: number(14).expect("a timestamp"),
                    host: number(15),
                    reported: text(16),
                    status: cells[17].text().map(str::to_owned),
                    place: number(18).map(|node| (node, text(19))),
                }
            })
            .collect()
    }

    /// Every node that is not removed, at this moment.
    pub fn nodes(&mut self, now: i64) -> Vec<NodeRow> {
        let installations = self.rows(
            "SELECT s.node_id, r.url, s.state, s.reported FROM installation s \
             JOIN release r ON r.id = s.release_id WHERE s.removed_at IS NULL ORDER BY s.id",
        );
        let partitions = self.rows(
            "SELECT node_id, name, active, capabilities FROM partition ORDER BY position, id",
        );
        let nodes = self.rows(
            "SELECT id, project_id, title, scope, capacity, used, network_id, categories, \
             contact_at, status_text FROM node WHERE removed_at IS NULL AND kind = 'compute' \
             ORDER BY id",
        );
        let text = |cell: &Cell| cell.text().unwrap_or_default().to_owned();
        nodes
            .iter()
            .map(|cells| {
                let key = cells[0].number().expect("a key");
                let categories: Texts =
                    serde_json::from_str(&text(&cells[7])).expect("categories as JSON");
                let contact = cells[8].number();
                let mut active = 0..;
                let mut partitions: Vec<_> = partitions
                    .iter()
                    .filter(|row| row[0].number() == Some(key))
                    .map(|row| {
                        let position = match row[2].number() {
                            Some(1) => active.next(),
                            _ => None,
                        };
                        let capabilities =
                            serde_json::from_str(&text(&row[3])).expect("capabilities as JSON");
                        (text(&row[1]), position, capabilities)
                    })
                    .collect();
                partitions.sort();
                NodeRow {
                    key,
                    project: cells[1].number().expect("a project"),
                    title: text(&cells[2]),
                    scope: text(&cells[3]),
                    capacity: cells[4].number(),
                    used: cells[5].number().expect("a number"),
                    network: cells[6].number(),
                    region: categories.get("region").cloned(),
                    alive: contact.is_some_and(|contact| now - contact <= SILENCE)
                        && !text(&cells[9]).contains("#error"),
                    installations: installations
                        .iter()
                        .filter(|row| row[0].number() == Some(key))
                        .map(|row| {
                            let wanted = row[2].text() == Some("available");
                            (text(&row[1]), wanted, text(&row[3]))
                        })
                        .collect(),
                    partitions,
                }
            })
            .collect()
    }

    /// What contradicts itself.
    pub fn contradictions(&mut self) -> Result<(), String> {
        for (what, sql) in CONTRADICTIONS {
            let found = self.rows(sql);
            if !found.is_empty() {
                return Err(format!("{what}: {found:?}"));
            }
        }
        Ok(())
    }

    /// Makes certificates known, of names such as `node-1`.
    pub fn certify(&mut self, kind: &str, keys: &[i64]) {
        for key in keys {
            let name = format!("{kind}-{key}");
            let sql = format!(
                "INSERT INTO certificate (common_name, serial, fingerprint, owner_kind, owner_id, \
                 issued_at, expires_at) VALUES ('{name}', '{name}', '', '{kind}', {key}, 0, \
                 4000000000000000)"
            );
            match &mut self.0 {
                Open::Sqlite(connection) => connection.execute_batch(&sql).expect("it is new"),
                Open::Postgres(client) => client.batch_execute(&sql).expect("it is new"),
            }
        }
    }

    /// Waits until nobody else works on the database.
    pub fn wait_for_others(&mut self) {
        if matches!(self.0, Open::Sqlite(_)) {
            return;
        }
        testkit::eventually(
            "nobody works on the database",
            Duration::from_secs(60),
            || {
                let others = self.rows(
                    "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND pid <> pg_backend_pid() AND state IN ('active', 'idle in transaction')",
                );
                match others[0][0].number() {
                    Some(0) => Ok(()),
                    count => Err(count),
                }
            },
        );
    }

    /// The number of entries in the audit trail.
    pub fn audited(&mut self) -> i64 {
        let rows = self.rows("SELECT COUNT(*) FROM audit");
        rows[0][0].number().expect("a count")
    }

    /// The revision of each node's document.
    pub fn revisions(&mut self) -> Vec<(i64, i64)> {
        let rows = self.rows("SELECT id, revision FROM node ORDER BY id");
        let number = |cell: &Cell| cell.number().expect("a number");
        rows.iter()
            .map(|row| (number(&row[0]), number(&row[1])))
            .collect()
    }
}

fn sqlite(path: &Path) -> rusqlite::Connection {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let connection =
        rusqlite::Connection::open_with_flags(path, flags).expect("the database can be read");
    connection
        .busy_timeout(Duration::from_secs(20))
        .expect("a timeout can be set");
    connection
}
