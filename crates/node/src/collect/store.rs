//! The database: upstream's tables and names, which promises read by path (N 6.6).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use slap::python;

use super::Moment;
use super::sample::{Machine, Row};
use crate::outcome::Error;

const NAME: &str = "collector.db";

/// How long others may keep it locked.
const BUSY: Duration = Duration::from_secs(30);

/// Partitions that take up no more are not worth a row.
const FOLDER_KIB_MIN: f64 = 1024.0;

/// Upstream's tables, by their columns before the three that all of them have.
const TABLES: &[(&str, &str)] = &[
    (
        "user",
        "partition text, pid real, process text,  cpu_percent real, cpu_time real,  \
         cpu_num_threads real,  memory_percent real,  memory_rss real, io_rw_counter real,  \
         io_cycles_counter real",
    ),
    ("folder", "partition text, disk_used real"),
    (
        "computer",
        "cpu_num_core real, cpu_frequency real, cpu_type text, memory_size real, memory_type text, \
         partition_list text",
    ),
    (
        "system",
        "loadavg real, cpu_percent real, memory_used real,  memory_free real, net_in_bytes real, \
         net_in_errors real,  net_in_dropped real, net_out_bytes real, net_out_errors real,  \
         net_out_dropped real",
    ),
    (
        "disk",
        "partition text, used text, free text, mountpoint text",
    ),
    (
        "temperature",
        "sensor_id name, temperature real, alarm integer",
    ),
    (
        "heating",
        "model_id name, sensor_id name, initial_temperature real,  final_temperature real, \
         delta_time real, zero_emission_ratio real",
    ),
];

/// Kept for ever.
const PRESERVED: &str = "heating";

pub(super) struct Store {
    connection: Connection,
    path: PathBuf,
}

/// What a partition used within one minute.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) processes: i64,
    pub(super) cpu_percent: f64,
    pub(super) cpu_time: f64,
    pub(super) threads: f64,
    pub(super) memory_percent: f64,
    pub(super) memory_rss: f64,
    pub(super) io_bytes: f64,
    pub(super) io_calls: f64,
    pub(super) disk_kib: Option<f64>,
}

/// What one process used within one minute, on average or at most as upstream has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ProcessSums {
    pub(super) pid: f64,
    pub(super) count: f64,
    pub(super) cpu_percent: f64,
    pub(super) cpu_time: f64,
    pub(super) threads: f64,
    pub(super) memory_percent: f64,
    pub(super) memory_rss: f64,
    pub(super) io_bytes: f64,
    pub(super) io_calls: f64,
}

impl Store {
    /// Opens the database of a directory, made where it is missing.
    pub(super) fn open(directory: &Path) -> Result<Store, Error> {
        let path = directory.join(NAME);
        let failed = failed(&path);
        let connection = Connection::open(&path).map_err(&failed)?;
        connection.busy_timeout(BUSY).map_err(&failed)?;
        // Readers are other users who may not write beside it: no write-ahead log.
        connection
            .pragma_update(None, "journal_mode", "delete")
            .map_err(&failed)?;
        let mut schema = String::new();
        for (table, columns) in TABLES {
            schema.push_str(&format!(
                "create table if not exists {table} ({columns}, date text,  time text,  \
                 reported integer NULL DEFAULT 0);\n\
                 CREATE INDEX IF NOT EXISTS {table}_date_reported_index ON {table} (date, \
                 reported);\n"
            ));
        }
        schema.push_str(
            "CREATE INDEX IF NOT EXISTS user_partition_date_time ON user (partition, date, time);",
        );
        connection.execute_batch(&schema).map_err(&failed)?;
        // Promises run as the partitions' users.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
            .map_err(Error::io("change the mode of", &path))?;
        drop(failed);
        Ok(Store { connection, path })
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> Error + '_ {
        failed(&self.path)
    }

    /// Writes everything of one moment, or nothing.
    pub(super) fn save(
        &mut self,
        moment: &Moment,
        machine: &Machine,
        processes: &[Row],
    ) -> Result<(), Error> {
        let path = self.path.clone();
        self.try_save(moment, machine, processes)
            .map_err(failed(&path))
    }

    fn try_save(
        &mut self,
        moment: &Moment,
        machine: &Machine,
        processes: &[Row],
    ) -> rusqlite::Result<()> {
        let (date, time) = (&moment.date, &moment.time);
        let transaction = self.connection.transaction()?;
        let partitions: Vec<String> = machine
            .disks
            .iter()
            .map(|disk| format!("{}={}", disk.device, disk.total))
            .collect();
        transaction.execute(
            "insert into computer (cpu_num_core, cpu_frequency, cpu_type, memory_size, memory_type, \
             partition_list, date, time) values (?, 0, '0', ?, '0', ?, ?, ?)",
            params![
                machine.cores as i64,
                machine.memory_total as i64,
                partitions.join(";"),
                date,
                time
            ],
        )?;
        let net = &machine.net;
        transaction.execute(
            "insert into system (loadavg, cpu_percent, memory_used, memory_free, net_in_bytes, \
             net_in_errors, net_in_dropped, net_out_bytes, net_out_errors, net_out_dropped, date, \
             time) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                machine.load,
                machine.cpu_percent,
                machine
                    .memory_total
                    .saturating_sub(machine.memory_available) as i64,
                machine.memory_available as i64,
                net.in_bytes as i64,
                net.in_errors as i64,
                net.in_dropped as i64,
                net.out_bytes as i64,
                net.out_errors as i64,
                net.out_dropped as i64,
                date,
                time
            ],
        )?;
        for disk in &machine.disks {
            transaction.execute(
                "insert into disk (partition, used, free, mountpoint, date, time) values (?, ?, ?, \
                 ?, ?, ?)",
                params![
                    disk.device,
                    disk.used.to_string(),
                    disk.free.to_string(),
                    disk.mountpoint,
                    date,
                    time
                ],
            )?;
        }
        for found in &machine.temperatures {
            transaction.execute(
                "insert into temperature (sensor_id, temperature, alarm, date, time) values (?, ?, \
                 ?, ?, ?)",
                params![found.sensor, found.celsius, found.alarm, date, time],
            )?;
        }
        for row in processes {
            transaction.execute(
                "insert into user (partition, pid, process, cpu_percent, cpu_time, cpu_num_threads, \
                 memory_percent, memory_rss, io_rw_counter, io_cycles_counter, date, time) values \
                 (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    row.user,
                    row.pid,
                    row.process,
                    row.cpu_percent,
                    row.cpu_time,
                    row.threads as i64,
                    row.memory_percent,
                    row.memory_rss as i64,
                    row.io_bytes as i64,
                    row.io_calls as i64,
                    date,
                    time
                ],
            )?;
        }
        transaction.commit()
    }

    /// Whether a partition's size was last told that long ago.
    pub(super) fn is_folder_due(
        &self,
        user: &str,
        cycle: Duration,
        moment: &Moment,
    ) -> Result<bool, Error> {
        let since = moment.at.checked_sub(cycle).unwrap_or(moment.at);
        let since = Moment::of(since);
        let recent: Option<i64> = self
            .connection
            .query_row(
                "select 1 from folder where partition = ? and date || ' ' || time > ? limit 1",
                params![user, format!("{} {}", since.date, since.time)],
                |row| row.get(0),
            )
            .optional()
            .map_err(self.failed())?;
        Ok(recent.is_none())
    }

    pub(super) fn save_folder(&self, moment: &Moment, user: &str, kib: f64) -> Result<(), Error> {
        if kib <= FOLDER_KIB_MIN {
            return Ok(());
        }
        self.connection
            .execute(
                "insert into folder (partition, disk_used, date, time) values (?, ?, ?, ?)",
                params![user, kib, moment.date, moment.time],
            )
            .map(drop)
            .map_err(self.failed())
    }

    /// Days before today that nobody was told about.
    pub(super) fn unreported_dates(&self, today: &str) -> Result<Vec<String>, Error> {
        self.strings(
            "select distinct date from system where reported = 0 and date != ? order by date",
            today,
        )
    }

    pub(super) fn mark_reported(&mut self, date: &str) -> Result<(), Error> {
        let path = self.path.clone();
        let mut mark = || {
            let transaction = self.connection.transaction()?;
            for (table, _) in TABLES {
                transaction.execute(
                    &format!("update {table} set reported = 1 where date = ? and reported = 0"),
                    [date],
                )?;
            }
            transaction.commit()
        };
        mark().map_err(failed(&path))
    }

    fn strings(&self, sql: &str, parameter: &str) -> Result<Vec<String>, Error> {
        let read = || {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map([parameter], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(self.failed())
    }

    pub(super) fn tables() -> impl Iterator<Item = &'static str> {
        TABLES.iter().map(|(table, _)| *table)
    }

    /// Passes the rows of a query, each value as Python prints it.
    pub(super) fn rows(
        &self,
        sql: &str,
        parameter: &str,
        pass: &mut dyn FnMut(&[String]) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let failed = std::io::Error::other::<rusqlite::Error>;
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let columns = statement.column_count();
        let mut rows = statement.query([parameter]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let mut values = Vec::with_capacity(columns);
            for index in 0..columns {
                values.push(match row.get_ref(index).map_err(failed)? {
                    ValueRef::Null => String::new(),
                    ValueRef::Integer(number) => number.to_string(),
                    ValueRef::Real(number) => python::float(number),
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                        String::from_utf8_lossy(bytes).into_owned()
                    }
                });
            }
            pass(&values)?;
        }
        Ok(())
    }

    /// One number, if there is any.
    pub(super) fn number(&self, sql: &str, parameters: &[&str]) -> std::io::Result<Option<f64>> {
        self.connection
            .query_row(sql, rusqlite::params_from_iter(parameters), |row| {
                row.get(0)
            })
            .optional()
            .map(Option::flatten)
            .map_err(std::io::Error::other)
    }

    /// What a partition used in one minute, `HH:MM`.
    pub(super) fn sums(&self, user: &str, date: &str, minute: &str) -> std::io::Result<Sums> {
        let (from, to) = (format!("{minute}:00"), format!("{minute}:59"));
        let mut sums = self
            .connection
            .query_row(
                "select count(pid), sum(cpu_percent), sum(cpu_time), sum(cpu_num_threads), \
                 sum(memory_percent), sum(memory_rss), sum(io_rw_counter), sum(io_cycles_counter) \
                 from user where date = ? and partition = ? and time between ? and ?",
                params![date, user, from, to],
                |row| {
                    let number = |index| row.get::<_, Option<f64>>(index);
                    Ok(Sums {
                        processes: row.get(0)?,
                        cpu_percent: number(1)?.unwrap_or(0.0),
                        cpu_time: number(2)?.unwrap_or(0.0),
                        threads: number(3)?.unwrap_or(0.0),
                        memory_percent: number(4)?.unwrap_or(0.0),
                        memory_rss: number(5)?.unwrap_or(0.0),
                        io_bytes: number(6)?.unwrap_or(0.0),
                        io_calls: number(7)?.unwrap_or(0.0),
                        disk_kib: None,
                    })
                },
            )
            .map_err(std::io::Error::other)?;
        sums.disk_kib = self.number(
            "select sum(disk_used) from folder where date = ? and partition = ? and time between ? \
             and ?",
            &[date, user, &from, &to],
        )?;
        Ok(sums)
    }

    /// The same for each process, the busiest first.
    pub(super) fn process_sums(
        &self,
        user: &str,
        date: &str,
        minute: &str,
    ) -> std::io::Result<Vec<ProcessSums>> {
        let read = || {
            let mut statement = self.connection.prepare(
                "select count(pid), sum(cpu_percent) as cpu, sum(cpu_time), max(cpu_num_threads), \
                 sum(memory_percent), sum(memory_rss), pid, sum(io_rw_counter), \
                 sum(io_cycles_counter) from user where date = ? and partition = ? and time between \
                 ? and ? group by pid order by cpu desc",
            )?;
            let rows = statement.query_map(
                params![date, user, format!("{minute}:00"), format!("{minute}:59")],
                |row| {
                    Ok(ProcessSums {
                        count: row.get(0)?,
                        cpu_percent: row.get(1)?,
                        cpu_time: row.get(2)?,
                        threads: row.get(3)?,
                        memory_percent: row.get(4)?,
                        memory_rss: row.get(5)?,
                        pid: row.get(6)?,
                        io_bytes: row.get(7)?,
                        io_calls: row.get(8)?,
                    })
                },
            )?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(std::io::Error::other)
    }

    /// Removes what was reported and is older than so many days; the clock may have been wrong, so
    /// what is from the future goes as well.
    pub(super) fn forget(&mut self, days: u32, moment: &Moment) -> Result<(), Error> {
        let first = moment.days_ago(days.saturating_sub(1));
        let path = self.path.clone();
        let mut forget = || {
            let transaction = self.connection.transaction()?;
            let mut removed = 0;
            for (table, _) in TABLES.iter().filter(|(table, _)| *table != PRESERVED) {
                removed += transaction.execute(
                    &format!(
                        "delete from {table} where reported = 1 and (?1 or date < ?2 or date > ?3)"
                    ),
                    params![days == 0, first, moment.date],
                )?;
            }
            transaction.commit()?;
            if removed > 0 {
                self.connection.execute_batch("VACUUM")?;
            }
            Ok(())
        };
        forget().map_err(failed(&path))
    }
}

fn failed(path: &Path) -> impl Fn(rusqlite::Error) -> Error + '_ {
    move |error| Error::Refused(format!("the database {}: {error}", path.display()))
}
