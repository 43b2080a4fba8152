//! A PostgreSQL server of the tests' own, made of the programs Debian's package installs.
//!
//! It lives in a temporary directory, listens there on a socket, and ends with the test: a shell that
//! waits for the end of its input, which a test killed with SIGKILL ends too, stops it and removes the
//! directory. What it commits it has on disk, as in real life.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

use crate::process::kill;
use crate::run::Unprivileged;
use crate::wait::eventually;
use crate::{Port, is_root};

/// Set to 1 to leave out what needs PostgreSQL, where it cannot be installed.
const WITHOUT: &str = "SLAPOS_TEST_WITHOUT_POSTGRES";
/// The superuser of the server.
const USER: &str = "slapos";
/// Only a hang takes that long.
const DEADLINE: Duration = Duration::from_secs(60);

/// Starts the server, tells its pid, and ends it when the input ends. `keep` as input leaves the
/// directory.
const KEEPER: &str = r#"
directory=$1; shift
"$@" </dev/null >>"$directory/log" 2>&1 &
echo $!
exec >/dev/null
read -r word
kill -QUIT $! 2>/dev/null
wait
[ "$word" = keep ] || rm -rf "$directory"
"#;

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    directory: PathBuf,
    user: Option<Unprivileged>,
    options: Vec<String>,
    port: Option<Port>,
    running: Mutex<Option<Keeper>>,
    databases: AtomicU32,
}

#[derive(Debug)]
struct Keeper {
    shell: Child,
    server: u32,
}

/// How a server shall be.
#[derive(Debug, Clone, Default)]
pub struct PostgresBuilder {
    options: Vec<String>,
    tcp: bool,
    tls: Option<(String, String)>,
    client_authority: Option<String>,
    password: Option<String>,
}

impl PostgresBuilder {
    /// Sets a parameter of `postgresql.conf`.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push(format!("{name}={value}"));
        self
    }

    /// Listens on a port of 127.0.0.1, too: see [`Postgres::port`].
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Offers TLS on the port: a certificate and its key, both PEM.
    pub fn tls(mut self, certificate: &str, key: &str) -> Self {
        self.tls = Some((certificate.to_owned(), key.to_owned()));
        self.tcp()
    }

    /// Asks whoever comes through the port for a certificate that this one (PEM) has signed.
    pub fn client_authority(mut self, certificate: &str) -> Self {
        self.client_authority = Some(certificate.to_owned());
        self
    }

    /// Asks whoever comes through the port for this password.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.tcp()
    }

    /// Makes and starts the server.
    pub fn start(self) -> Postgres {
        let programs = programs().unwrap_or_else(|| {
            panic!(
                "PostgreSQL is not installed: run `tools/setup test`, or install Debian's package \
                 `postgresql`; or set {WITHOUT}=1 to test without it"
            )
        });
        let user = is_root().then(unprivileged);
        let directory = tempfile::Builder::new()
            .prefix("slapos-pg-")
            .tempdir()
            .expect("a temporary directory")
            .keep();
        give(&directory, 0o700, user.as_ref());
        let mut server = Postgres {
            programs,
            directory,
            user,
            options: self.options,
            port: self.tcp.then(Port::reserve),
            running: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        server.initialize(self.tls, self.client_authority, self.password);
        server.start_again();
        server
    }
}

impl Postgres {
    /// A server with everything at its default: durable, on a socket only.
    pub fn start() -> Postgres {
        PostgresBuilder::default().start()
    }

    /// A server that is otherwise than the default.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// The one server all tests of this process share, for databases of their own; none where
    /// `SLAPOS_TEST_WITHOUT_POSTGRES=1` says so.
    ///
    /// It does not force to the disk what it writes: for tests of logic, not of durability.
    pub fn shared() -> Option<&'static Postgres> {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        if std::env::var_os(WITHOUT).is_some_and(|value| value == "1") {
            eprintln!("without PostgreSQL, as {WITHOUT} says");
            return None;
        }
        Some(SHARED.get_or_init(|| Postgres::builder().option("fsync", "off").start()))
    }

    /// Whether tests with PostgreSQL are to be left out.
    pub fn is_left_out() -> bool {
        std::env::var_os(WITHOUT).is_some_and(|value| value == "1")
    }

    /// A new, empty database; its URL. It sorts as users' databases do, not bytewise.
    pub fn new_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database, through the socket.
    pub fn url(&self, database: &str) -> String {
        let socket = self.directory.display().to_string().replace('/', "%2F");
        format!("postgres://{USER}@{socket}:{}/{database}", self.number())
    }

    /// The port, which the socket is named after, too.
    fn number(&self) -> u16 {
        self.port().unwrap_or(5432)
    }

    /// The port on 127.0.0.1 where it listens, if it does.
    pub fn port(&self) -> Option<u16> {
        self.port.as_ref().map(Port::number)
    }

    /// The name of its superuser.
    pub fn user(&self) -> &'static str {
        USER
    }

    /// Runs SQL as superuser with `psql`; what it prints, columns separated by `|`.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = self
            .program("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", USER])
            .arg("-h")
            .arg(&self.directory)
            .args(["-d", database, "-c", sql])
            .output()
            .expect("psql starts");
        assert!(
            output.status.success(),
            "{sql}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        std::fs::read(self.directory.join("log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The directory of this server: its socket and its log.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Kills all its processes with SIGKILL, as a crash of the machine would.
    pub fn kill(&self) {
        let Some(mut keeper) = self.lock().take() else {
            return;
        };
        let mut pids = vec![keeper.server];
        // Stopped, it starts no further process while those there are looked up.
        kill(keeper.server, Signal::STOP);
        pids.extend(children(keeper.server));
        for pid in pids {
            kill(pid, Signal::KILL);
        }
        keeper.end("keep\n");
    }

    /// Stops it as an administrator in a hurry does: connections are cut, nothing is lost.
    pub fn stop(&self) {
        if let Some(mut keeper) = self.lock().take() {
            kill(keeper.server, Signal::INT);
            let pid = keeper.server;
            eventually("PostgreSQL stops", DEADLINE, || {
                if Path::new(&format!("/proc/{pid}/exe")).exists() {
                    Err(self.log())
                } else {
                    Ok(())
                }
            });
            keeper.end("keep\n");
        }
    }

    /// Starts it again after [`Postgres::kill`] or [`Postgres::stop`].
    pub fn start_again(&self) {
        let mut running = self.lock();
        assert!(running.is_none(), "it runs");
        eventually("PostgreSQL starts", DEADLINE, || {
            let mut keeper = self.spawn();
            loop {
                // After a crash, processes of the killed server may still be there for a moment.
                if !Path::new(&format!("/proc/{}/exe", keeper.server)).exists() {
                    keeper.end("keep\n");
                    return Err(self.log());
                }
                if self.is_ready() {
                    *running = Some(keeper);
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    }

    /// Sends a signal to the process that serves this backend pid, or to the whole server.
    pub fn signal(&self, signal: Signal) {
        if let Some(keeper) = self.lock().as_ref() {
            for pid in children(keeper.server) {
                kill(pid, signal);
            }
            kill(keeper.server, signal);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Keeper>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ready(&self) -> bool {
        self.program("pg_isready")
            .args(["-q", "-U", USER, "-h"])
            .arg(&self.directory)
            .status()
            .expect("pg_isready starts")
            .success()
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C")
            .env("PGPORT", self.number().to_string())
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid).env("USER", &user.name);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn initialize(
        &mut self,
        tls: Option<(String, String)>,
        client_authority: Option<String>,
        password: Option<String>,
    ) {
        let data = self.data();
        // Sorted as users' databases are, by a language, where this version can do it anywhere.
        let language = ["--locale-provider=icu", "--icu-locale=en-US"];
        let initialize = |locale: &[&str]| {
            self.program("initdb")
                .args(["--no-sync", "-A", "trust", "-E", "UTF8", "-U", USER])
                .args(["--locale", "C.UTF-8", "-D"])
                .arg(&data)
                .args(locale)
                .output()
                .expect("initdb starts")
        };
        let mut output = initialize(&language);
        if !output.status.success() {
            output = initialize(&[]);
        }
        assert!(
            output.status.success(),
            "initdb: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let mut access = "local all all trust\n".to_owned();
        let method = if password.is_some() {
            "scram-sha-256"
        } else {
            "trust"
        };
        let kind = if tls.is_some() { "hostssl" } else { "host" };
        let certificate = client_authority
            .as_ref()
            .map_or("", |_| "clientcert=verify-ca");
        access.push_str(&format!(
            "{kind} all all 127.0.0.1/32 {method} {certificate}\n"
        ));
        std::fs::write(data.join("pg_hba.conf"), access).expect("the directory can be written");
        if let Some((certificate, key)) = tls {
            for (name, text) in [("server.crt", certificate), ("server.key", key)] {
                let path = data.join(name);
                std::fs::write(&path, text).expect("the directory can be written");
                give(&path, 0o600, self.user.as_ref());
            }
            self.options.push("ssl=on".to_owned());
            if let Some(authority) = client_authority {
                let path = data.join("clients.crt");
                std::fs::write(&path, authority).expect("the directory can be written");
                give(&path, 0o600, self.user.as_ref());
                self.options.push("ssl_ca_file=clients.crt".to_owned());
            }
        }
        if let Some(password) = password {
            let quoted = password.replace('\'', "''");
            self.start_again();
            self.sql(
                "postgres",
                &format!("ALTER USER {USER} PASSWORD '{quoted}'"),
            );
            self.stop();
        }
    }

    fn spawn(&self) -> Keeper {
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data());
        command.arg("-k").arg(&self.directory);
        let address = match &self.port {
            Some(_) => "127.0.0.1",
            None => "",
        };
        let fixed = [
            format!("listen_addresses={address}"),
            "max_connections=200".to_owned(),
            "shared_buffers=64MB".to_owned(),
            "unix_socket_permissions=0777".to_owned(),
        ];
        for option in fixed.iter().chain(&self.options) {
            command.arg("-c").arg(option);
        }
        let mut shell = self.program("postgres");
        shell = {
            let mut keeper = Command::new("/bin/sh");
            keeper
                .args(["-c", KEEPER, "sh"])
                .arg(&self.directory)
                .arg(command.get_program())
                .args(command.get_args())
                .env_clear()
                .envs(
                    shell
                        .get_envs()
                        .filter_map(|(name, value)| value.map(|value| (name, value))),
                )
                .current_dir(&self.directory)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                // Ctrl-C is for the test; the end of its input tells the keeper.
                .process_group(0);
            if let Some(user) = &self.user {
                keeper.uid(user.uid).gid(user.gid);
            }
            keeper
        };
        let mut shell = shell.spawn().expect("sh starts");
        let mut line = String::new();
        let said = shell.stdout.take().expect("its output is a pipe");
        BufReader::new(said)
            .read_line(&mut line)
            .expect("the keeper tells the server's pid");
        let server = line.trim().parse().expect("a pid");
        Keeper { shell, server }
    }
}

impl Keeper {
    /// Ends the server, if it still runs.
    fn end(&mut self, word: &str) {
        if let Some(mut input) = self.shell.stdin.take() {
            let _ = input.write_all(word.as_bytes());
        }
        let _ = self.shell.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.lock().take() {
            keeper.end("");
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Where the programs are: the newest that Debian's packages installed, or those in the PATH.
fn programs() -> Option<PathBuf> {
    let complete = |directory: &PathBuf| {
        ["initdb", "postgres", "psql", "pg_isready"]
            .iter()
            .all(|name| directory.join(name).exists())
    };
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, directory)| complete(directory))
        .collect();
    found.sort();
    if let Some((_, newest)) = found.pop() {
        return Some(newest);
    }
    std::env::split_paths(&std::env::var_os("PATH")?).find(complete)
}

/// Whom to become, as PostgreSQL refuses to run as root: its own user, or nobody.
fn unprivileged() -> Unprivileged {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.first() == Some(&name)).then_some(())?;
            Some(Unprivileged {
                name: name.to_owned(),
                uid: fields.get(2)?.parse().ok()?,
                gid: fields.get(3)?.parse().ok()?,
            })
        })
    };
    find("postgres")
        .or_else(Unprivileged::when_root)
        .expect("the tests run as root")
}

fn give(path: &Path, mode: u32, user: Option<&Unprivileged>) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    if let Some(user) = user {
        chown(path, Some(user.uid), Some(user.gid)).expect("root may give it away");
    }
}

/// The processes a process has started.
fn children(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name, in parentheses, may hold anything; then come the state and the parent.
            let rest = &stat[stat.rfind(')')? + 1..];
            (rest.split_whitespace().nth(1)? == parent).then_some(pid)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes_below;

    #[test]
    fn what_is_committed_survives_a_crash_and_nothing_outlives_the_handle() {
        if Postgres::is_left_out() {
            return;
        }
        let server = Postgres::start();
        let url = server.new_database();
        let name = url.rsplit('/').next().unwrap().to_owned();
        assert_ne!(server.new_database(), url);
        server.sql(&name, "CREATE TABLE t (n int); INSERT INTO t VALUES (7)");
        server.kill();
        // The children of a killed server notice it a moment later.
        crate::eventually("its processes end", Duration::from_secs(30), || {
            let left = processes_below(server.directory());
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        });
        server.start_again();
        assert_eq!(server.sql(&name, "SELECT n FROM t"), "7");
        server.stop();
        server.start_again();
        assert_eq!(server.sql(&name, "SELECT n FROM t"), "7");
        assert_eq!(server.sql(&name, "SHOW fsync"), "on");
        let directory = server.directory().to_owned();
        drop(server);
        assert!(!directory.exists());
        assert_eq!(processes_below(&directory), []);
    }

    #[test]
    fn a_server_ends_with_a_test_that_is_killed() {
        if Postgres::is_left_out() {
            return;
        }
        let server = Postgres::start();
        let directory = server.directory().to_owned();
        // What is left of the input when the process that held it is gone.
        let mut keeper = server.lock().take().unwrap();
        drop(keeper.shell.stdin.take());
        eventually("the server ends", DEADLINE, || {
            let left = processes_below(&directory);
            if left.is_empty() && !directory.exists() {
                Ok(())
            } else {
                Err(left)
            }
        });
        let _ = keeper.shell.wait();
    }
}
