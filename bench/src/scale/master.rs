//! The Master under test. It believes this program to be a proxy it trusts: plain HTTP, and a header
//! says who calls.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io};

use postgres::{Client, NoTls};
use testkit::Postgres;

use super::Phase;
use crate::failure::{Context, Failure};
use crate::http::{self, Load};
use crate::masters::free_address;
use crate::process::{self, Memory, Running};
use crate::{peers, wire};

/// Where the Master keeps its data.
enum Database {
    File(PathBuf),
    /// Its URL, and the server where it is ours.
    Server {
        url: String,
        server: Option<Postgres>,
    },
}

/// A running Master.
pub(super) struct Master {
    running: Running,
    pub(super) address: SocketAddr,
    /// The common name of a certificate of the first administrator, who manages the project.
    pub(super) person: String,
    /// What sets the first administrator's password.
    pub(super) password_token: String,
    /// The first project.
    pub(super) project: &'static str,
    database: Database,
}

impl Master {
    /// Starts a new Master in this directory and waits until it answers.
    pub(super) fn start(
        program: Option<PathBuf>,
        directory: &Path,
        database: &str,
    ) -> Result<Master, Failure> {
        let program = peers::ours(program)?.client;
        let database = match database {
            "sqlite" => Database::File(directory.join("data/master.db")),
            "postgres" => {
                let server = Postgres::start();
                Database::Server {
                    url: server.new_database(),
                    server: Some(server),
                }
            }
            url => Database::Server {
                url: url.to_owned(),
                server: None,
            },
        };
        let address = free_address()?;
        let log = directory.join("master.log");
        let mut command = Command::new(&program);
        command
            .args(["master", "start", "--data-dir"])
            .arg(directory.join("data"))
            .args(["--listen", &free_address()?.to_string()])
            .args(["--plain", &address.to_string()])
            .args(["--trusted-proxy", &address.ip().to_string()]);
        if let Database::Server { url, .. } = &database {
            command.args(["--database", url]);
        }
        let mut running = Running::start(&mut command, &log)?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while !http::call(address, &wire::get("getRunId", &[]))
            .is_ok_and(|reply| reply.status == 200)
        {
            if running.has_ended() || Instant::now() > deadline {
                return Err(Failure::new(format!(
                    "the Master does not start:\n{}",
                    process::tail(&log)
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut master = Master {
            running,
            address,
            person: String::new(),
            password_token: String::new(),
            project: "PROJ-1",
            database,
        };
        let said = fs::read_to_string(&log).context("reading what the Master said")?;
        let token = |mark: &str| {
            let rest = said.split_once(mark).map(|(_, rest)| rest);
            let token = rest.and_then(|rest| rest.split_whitespace().next());
            token
                .map(str::to_owned)
                .ok_or_else(|| Failure::new(format!("the Master's first start shows no {mark}")))
        };
        master.person = master.come_in(&token("--token ")?)?;
        master.password_token = token("password?token=")?;
        Ok(master)
    }

    pub(super) fn kind(&self) -> &'static str {
        match self.database {
            Database::File(_) => "SQLite",
            Database::Server { .. } => "PostgreSQL",
        }
    }

    /// Comes in as the first administrator, by the token the first start shows.
    fn come_in(&self, token: &str) -> Result<String, Failure> {
        let request = wire::with_header(
            &wire::post("Person_getCertificate", &[]),
            "X-Access-Token",
            token,
        );
        let reply = http::call(self.address, &request)?;
        common_name(&reply.body)
    }

    /// Carries out a load and takes down what it cost.
    pub(super) fn phase(&self, load: &Load<'_>) -> Result<Phase, Failure> {
        let me = std::process::id();
        let before = (self.cpu_seconds(), process::cpu_seconds(me));
        let outcome = http::run(load)?;
        Ok(Phase {
            outcome,
            master_cpu_s: self.cpu_seconds() - before.0,
            client_cpu_s: process::cpu_seconds(me) - before.1,
            memory: self.memory(),
        })
    }

    pub(super) fn cpu_seconds(&self) -> f64 {
        process::cpu_seconds(self.running.pid())
    }

    pub(super) fn memory(&self) -> Memory {
        Memory::of_all(self.running.pid())
    }

    /// What the database takes on disk.
    pub(super) fn database_bytes(&self) -> Result<u64, Failure> {
        match &self.database {
            Database::File(path) => {
                let size = |suffix: &str| {
                    let mut name = path.clone().into_os_string();
                    name.push(suffix);
                    match fs::metadata(name) {
                        Ok(found) => Ok(found.len()),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
                        Err(error) => Err(error).context("measuring the database"),
                    }
                };
                Ok(size("")? + size("-wal")?)
            }
            Database::Server { url, server } => {
                let mut client = Client::connect(url, NoTls).context("asking PostgreSQL")?;
                let row = client
                    .query_one("SELECT pg_database_size(current_database())", &[])
                    .context("asking PostgreSQL for the size of the database")?;
                // Kept until here: it ends with the Master.
                let _ = server;
                let bytes: i64 = row.get(0);
                Ok(u64::try_from(bytes).unwrap_or(0))
            }
        }
    }
}

/// The common name in a certificate as text (P 5.1).
pub(super) fn common_name(certificate: &[u8]) -> Result<String, Failure> {
    let text = String::from_utf8_lossy(certificate);
    text.find("CERTLOGIN-")
        .and_then(|start| text.get(start..))
        .and_then(|rest| {
            rest.split(|character: char| !(character.is_ascii_alphanumeric() || character == '-'))
                .next()
        })
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::new(format!(
                "no certificate: {}",
                text.chars().take(300).collect::<String>()
            ))
        })
}
