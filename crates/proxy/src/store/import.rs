//! Taking over the database of upstream's proxy (P 6.17): once, in one transaction, after leaving a
//! copy beside it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};
use slap::{InstallationState, InstanceState, NodeId, PartitionId, Value, instance_xml, marshal};

use super::{OpenError, queries, schema};
use crate::domain::{Clock, Parameters, Timestamp};

/// The one schema version that is taken over.
const VERSION: u32 = 18;

/// Upstream's tables, without the version at the end of their names.
const TABLES: [&str; 7] = [
    "config",
    "software",
    "computer",
    "partition",
    "slave",
    "partition_network",
    "forwarded_partition_request",
];

/// The schema version of upstream's proxy that these tables are of, if they are.
pub(super) fn upstream_version(tables: &HashSet<String>) -> Option<u32> {
    tables
        .iter()
        .filter_map(|table| table.strip_prefix("partition")?.parse().ok())
        .filter(|version| tables.contains(&format!("computer{version}")))
        .max()
}

/// Takes the tables over.
pub(super) fn run(
    path: &Path,
    connection: &mut Connection,
    version: u32,
    default_node: &NodeId,
    clock: &dyn Clock,
) -> Result<(), OpenError> {
    if version != VERSION {
        return Err(OpenError::UpstreamSchema {
            path: path.to_owned(),
            found: version,
        });
    }
    let database = |source| OpenError::Database {
        path: path.to_owned(),
        source,
    };
    let copy = back_up(path, connection)?;
    let transaction = connection.transaction().map_err(database)?;
    let mut import = Import {
        from: &transaction,
        now: clock.now(),
        default_node: default_node.as_str(),
        partitions: HashMap::new(),
        trees: HashMap::new(),
        instances: HashMap::new(),
        references: HashSet::new(),
    };
    (|| {
        // Whatever number upstream keeps there means nothing to our migrations.
        transaction.pragma_update(None, "user_version", 0)?;
        schema::migrate(&transaction)?;
        import.everything()?;
        for table in TABLES {
            transaction.execute_batch(&format!("DROP TABLE IF EXISTS {table}{VERSION}"))?;
        }
        Ok(())
    })()
    .map_err(|failure| match failure {
        Failure::Database(source) => database(source),
        Failure::Row(detail) => OpenError::Import {
            path: path.to_owned(),
            detail,
        },
    })?;
    transaction.commit().map_err(database)?;
    tracing::warn!(
        "took over the database of slapos.core's proxy; as it was it is in {}",
        copy.display()
    );
    Ok(())
}

/// Copies the database to `<path>.upstream-18`, durably. A copy of an attempt that went wrong is
/// replaced: nothing was changed since.
fn back_up(path: &Path, connection: &Connection) -> Result<PathBuf, OpenError> {
    let io = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let copy = named(&format!(".upstream-{VERSION}"));
    let unfinished = named(&format!(".upstream-{VERSION}.tmp"));
    if unfinished.exists() {
        std::fs::remove_file(&unfinished).map_err(io)?;
    }
    super::create_private(&unfinished).map_err(io)?;
    connection
        .backup("main", &unfinished, None::<fn(rusqlite::backup::Progress)>)
        .map_err(|source| OpenError::Database {
            path: unfinished.clone(),
            source,
        })?;
    std::fs::File::open(&unfinished)
        .and_then(|file| file.sync_all())
        .map_err(io)?;
    std::fs::rename(&unfinished, &copy).map_err(io)?;
    if let Some(directory) = copy
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        std::fs::File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(io)?;
    }
    Ok(copy)
}

/// Why the import stops.
enum Failure {
    Database(rusqlite::Error),
    /// A row that cannot be taken over, and why.
    Row(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Database(error)
    }
}

struct Import<'a> {
    from: &'a Connection,
    now: Timestamp,
    default_node: &'a str,
    /// Our number of a partition, by node and reference.
    partitions: HashMap<(String, String), i64>,
    /// Our number of a tree, by title and whether its root is shared.
    trees: HashMap<(String, bool), i64>,
    /// The instance on each of our partitions: its number, its tree, its root's title.
    instances: HashMap<i64, (i64, i64, String)>,
    /// References of shared instances that are taken.
    references: HashSet<String>,
}

/// A busy row of upstream's partition table.
struct Busy {
    node: String,
    partition: String,
    release: String,
    software_type: String,
    parameters: Option<String>,
    connection: Option<String>,
    shared: Option<String>,
    title: String,
    root: String,
    requester: String,
    state: String,
    timestamp: Option<f64>,
}

impl Busy {
    fn place(&self) -> String {
        format!("{} of {}", self.partition, self.node)
    }
}

impl Import<'_> {
    fn everything(&mut self) -> Result<(), Failure> {
        self.nodes()?;
        self.partitions()?;
        self.installations()?;
        let busy = self.busy()?;
        let (roots, members): (Vec<_>, Vec<_>) =
            busy.into_iter().partition(|row| row.root.is_empty());
        for row in roots.iter().chain(&members) {
            self.instance(row)?;
        }
        for row in roots.iter().chain(&members) {
            self.requester(row)?;
        }
        for row in roots.iter().chain(&members) {
            self.shared(row)?;
        }
        self.from.execute_batch(
            "INSERT INTO forwarded_request (title, master_url) \
             SELECT partition_reference, master_url FROM forwarded_partition_request18 \
             WHERE partition_reference IS NOT NULL AND master_url IS NOT NULL",
        )?;
        Ok(())
    }

    fn nodes(&self) -> Result<(), Failure> {
        self.from.execute_batch(
            "INSERT INTO node (reference, address, netmask, formatted) \
             SELECT reference, address, netmask, 1 FROM computer18 \
             WHERE reference IS NOT NULL ORDER BY rowid; \
             INSERT INTO node (reference, formatted) \
             SELECT DISTINCT computer_reference, 1 FROM partition18 \
             WHERE computer_reference IS NOT NULL ON CONFLICT DO NOTHING; \
             INSERT INTO node (reference) \
             SELECT DISTINCT computer_reference FROM software18 \
             WHERE computer_reference IS NOT NULL ON CONFLICT DO NOTHING;",
        )?;
        let mut statement = self.from.prepare("SELECT reference FROM node")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            NodeId::new(row.get::<_, String>(0)?)
                .map_err(|error| Failure::Row(format!("a computer: {error}")))?;
        }
        Ok(())
    }

    fn partitions(&mut self) -> Result<(), Failure> {
        self.from.execute_batch(
            "INSERT INTO partition (node_id, reference, position, busy) \
             SELECT n.id, p.reference, p.rowid, p.slap_state = 'busy' \
             FROM partition18 p JOIN node n ON n.reference = p.computer_reference \
             ORDER BY p.rowid; \
             INSERT INTO partition_address (partition_id, position, interface, address, netmask) \
             SELECT p.id, a.rowid, coalesce(a.reference, ''), coalesce(a.address, ''), \
               coalesce(a.netmask, '') \
             FROM partition_network18 a JOIN node n ON n.reference = a.computer_reference \
             JOIN partition p ON p.node_id = n.id AND p.reference = a.partition_reference \
             ORDER BY a.rowid;",
        )?;
        let mut statement = self.from.prepare(
            "SELECT n.reference, p.reference, p.id FROM partition p JOIN node n ON n.id = p.node_id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (node, partition): (String, String) = (row.get(0)?, row.get(1)?);
            PartitionId::new(partition.clone())
                .map_err(|error| Failure::Row(format!("a partition of {node}: {error}")))?;
            self.partitions.insert((node, partition), row.get(2)?);
        }
        Ok(())
    }

    fn installations(&self) -> Result<(), Failure> {
        let mut statement = self.from.prepare(
            "SELECT s.url, n.id, s.requested_state FROM software18 s \
             JOIN node n ON n.reference = s.computer_reference ORDER BY s.rowid",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let release: String = row.get(0)?;
            let state: InstallationState = row
                .get::<_, Option<String>>(2)?
                .unwrap_or_else(|| "available".to_owned())
                .parse()
                .map_err(|error| Failure::Row(format!("the software {release}: {error}")))?;
            self.from.execute(
                "INSERT INTO installation (node_id, release, state) VALUES (?1, ?2, ?3)",
                (row.get::<_, i64>(1)?, release, state.as_str()),
            )?;
        }
        Ok(())
    }

    fn busy(&self) -> Result<Vec<Busy>, Failure> {
        let mut statement = self.from.prepare(
            "SELECT computer_reference, reference, coalesce(software_release, ''), \
             coalesce(software_type, ''), xml, connection_xml, slave_instance_list, \
             coalesce(partition_reference, ''), coalesce(requested_by, ''), \
             coalesce(requester_id, ''), requested_state, timestamp \
             FROM partition18 WHERE slap_state = 'busy' ORDER BY rowid",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Busy {
                node: row.get(0)?,
                partition: row.get(1)?,
                release: row.get(2)?,
                software_type: row.get(3)?,
                parameters: row.get(4)?,
                connection: row.get(5)?,
                shared: row.get(6)?,
                title: row.get(7)?,
                root: row.get(8)?,
                requester: row.get(9)?,
                state: row.get(10)?,
                timestamp: row.get(11)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn tree(&mut self, title: &str, shared: bool) -> Result<i64, Failure> {
        let key = (title.to_owned(), shared);
        if let Some(tree) = self.trees.get(&key) {
            return Ok(*tree);
        }
        self.from.execute(
            "INSERT INTO tree (title, shared) VALUES (?1, ?2)",
            (title, shared),
        )?;
        let tree = self.from.last_insert_rowid();
        self.trees.insert(key, tree);
        Ok(tree)
    }

    fn instance(&mut self, row: &Busy) -> Result<(), Failure> {
        let fail = |detail: String| Failure::Row(format!("partition {}: {detail}", row.place()));
        let is_root = row.root.is_empty();
        let state: InstanceState = row
            .state
            .parse()
            .map_err(|error: slap::state::UnknownState| fail(error.to_string()))?;
        let timestamp = row
            .timestamp
            .and_then(|seconds| Timestamp::from_seconds_text(&slap::python::float(seconds)))
            .unwrap_or(self.now);
        let partition = self
            .partitions
            .get(&(row.node.clone(), row.partition.clone()))
            .copied()
            .ok_or_else(|| fail("it belongs to no computer".to_owned()))?;
        let connection = row
            .connection
            .as_deref()
            .map(|document| text_dict(document).map_err(&fail))
            .transpose()?
            .map(|dict| queries::write_connection(&dict).map_err(|error| fail(error.to_string())))
            .transpose()?;
        let parameters = text_dict(row.parameters.as_deref().unwrap_or_default()).map_err(&fail)?;
        let parameters = Parameters(
            parameters
                .into_iter()
                .map(|(key, text)| (key, Value::String(text)))
                .collect(),
        );
        let wanted = if row.title.is_empty() {
            format!("untitled-{}", row.partition)
        } else {
            row.title.clone()
        };
        let root = if is_root { &wanted } else { &row.root };
        // A rename may have left two of a title: both stay, told apart by a number.
        let mut title = wanted.clone();
        let mut number = 1;
        let tree = loop {
            let root = if is_root { &title } else { root };
            let tree = self.tree(root, false)?;
            let taken: bool = self.from.query_row(
                "SELECT EXISTS (SELECT 1 FROM instance \
                 WHERE tree_id = ?1 AND title = ?2 AND shared = 0 AND is_root = ?3)",
                (tree, &title, is_root),
                |row| row.get(0),
            )?;
            if !taken {
                break tree;
            }
            number += 1;
            title = format!("{wanted} ({number})");
        };
        if title != row.title {
            tracing::warn!(
                "the instance on partition {} is now named {title:?}, as its title {:?} is not unique",
                row.place(),
                row.title
            );
        }
        self.from.execute(
            "INSERT INTO instance (tree_id, is_root, title, shared, release, software_type, state, \
             parameters, sla, connection, timestamp, partition_id) \
             VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, '{}', ?8, ?9, ?10)",
            (
                tree,
                is_root,
                &title,
                &row.release,
                &row.software_type,
                state.as_str(),
                queries::write_parameters(&parameters),
                connection,
                timestamp.nanoseconds(),
                partition,
            ),
        )?;
        let root_title = if is_root { title } else { row.root.clone() };
        self.instances
            .insert(partition, (self.from.last_insert_rowid(), tree, root_title));
        Ok(())
    }

    /// The instance on a partition of this name: upstream does not store on which node. The one on
    /// `node` is preferred.
    fn on_partition(&self, node: &str, partition: &str) -> Option<&(i64, i64, String)> {
        let on = |node: &str| {
            let key = (node.to_owned(), partition.to_owned());
            self.instances.get(self.partitions.get(&key)?)
        };
        on(node).or_else(|| on(self.default_node))
    }

    fn requester(&self, row: &Busy) -> Result<(), Failure> {
        if row.root.is_empty() {
            return Ok(());
        }
        let key = (row.node.clone(), row.partition.clone());
        let own = self
            .partitions
            .get(&key)
            .and_then(|partition| self.instances.get(partition));
        let (Some((id, tree, _)), Some((requester, requester_tree, _))) =
            (own, self.on_partition(&row.node, &row.requester))
        else {
            return Ok(());
        };
        if tree == requester_tree && id != requester {
            self.from.execute(
                "UPDATE instance SET requester_id = ?2 WHERE id = ?1",
                (id, requester),
            )?;
        }
        Ok(())
    }

    /// The shared instances in a host's list. One that is in upstream's table but in no list was
    /// destroyed.
    fn shared(&mut self, host: &Busy) -> Result<(), Failure> {
        let fail = |detail: String| {
            Failure::Row(format!(
                "the shared instances of partition {}: {detail}",
                host.place()
            ))
        };
        let Some(list) = host.shared.as_deref().filter(|list| !list.is_empty()) else {
            return Ok(());
        };
        let list = marshal::decode(list.as_bytes()).map_err(|error| fail(error.to_string()))?;
        let key = (host.node.clone(), host.partition.clone());
        let host_id = self
            .partitions
            .get(&key)
            .and_then(|partition| self.instances.get(partition))
            .map(|(id, _, _)| *id);
        for item in list.as_sequence().unwrap_or_default() {
            let mut entries = item
                .as_dict()
                .cloned()
                .ok_or_else(|| fail(format!("{} in the list", item.kind())))?;
            let mut take = |name: &str| match entries.remove(name) {
                Some(Value::String(text)) => text,
                _ => String::new(),
            };
            let reference = take("slave_reference");
            let _ = take("slave_title");
            let software_type = take("slap_software_type");
            if reference.is_empty() || !self.references.insert(reference.clone()) {
                continue;
            }
            self.shared_instance(host, host_id, &reference, &software_type, entries)?;
        }
        Ok(())
    }

    fn shared_instance(
        &mut self,
        host: &Busy,
        host_id: Option<i64>,
        reference: &str,
        software_type: &str,
        parameters: BTreeMap<String, Value>,
    ) -> Result<(), Failure> {
        let fail =
            |detail: String| Failure::Row(format!("the shared instance {reference}: {detail}"));
        let (connection, requester) = self
            .from
            .query_row(
                "SELECT connection_xml, requester_id FROM slave18 WHERE reference = ?1",
                [reference],
                |row| {
                    Ok((
                        row.get::<_, Option<String>>(0)?,
                        row.get::<_, Option<String>>(1)?.unwrap_or_default(),
                    ))
                },
            )
            .optional()?
            .unwrap_or_default();
        let requester = self.on_partition(&host.node, &requester).cloned();
        // `<root title>_<title>`; nothing before the underscore when a person requested it. A tree
        // that was renamed since left the old title in the reference.
        let (requester, tree, title) = match requester {
            Some((id, tree, root)) => {
                let title = reference
                    .strip_prefix(root.as_str())
                    .and_then(|rest| rest.strip_prefix('_'))
                    .or_else(|| reference.split_once('_').map(|(_, title)| title))
                    .unwrap_or(reference);
                (Some(id), tree, title.to_owned())
            }
            None => {
                let title = reference.strip_prefix('_').unwrap_or(reference).to_owned();
                (None, self.tree(&title, true)?, title)
            }
        };
        let connection = connection
            .map(|document| text_dict(&document).map_err(&fail))
            .transpose()?
            .map(|dict| queries::write_connection(&dict).map_err(|error| fail(error.to_string())))
            .transpose()?;
        let parameters = Parameters::new(parameters, true).map_err(&fail)?;
        self.from
            .execute(
                "INSERT INTO instance (tree_id, is_root, requester_id, title, shared, reference, \
                 release, software_type, state, parameters, sla, connection, timestamp, host_id) \
                 VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, 'started', ?8, '{}', ?9, ?10, ?11)",
                (
                    tree,
                    requester.is_none(),
                    requester,
                    title,
                    reference,
                    &host.release,
                    if software_type.is_empty() {
                        &host.software_type
                    } else {
                        software_type
                    },
                    queries::write_parameters(&parameters),
                    connection,
                    self.now.nanoseconds(),
                    host_id,
                ),
            )
            .map_err(|error| fail(error.to_string()))?;
        Ok(())
    }
}

fn text_dict(document: &str) -> Result<BTreeMap<String, String>, String> {
    Ok(instance_xml::decode(document)
        .map_err(|error| error.to_string())?
        .into_iter()
        .map(|(key, text)| (key, text.unwrap_or_default()))
        .collect())
}
