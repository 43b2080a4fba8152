//! Running the Master: in a process of its own, or inside another one.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use network_cache::NetworkCache;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{self, Administration};
use crate::api::{self, App, Cache, Place};
use crate::auth::Auth;
use crate::events::Hub;
use crate::files::{DataDir, FilesError};
use crate::first_start::{self, FirstStartError, Secrets, Welcome};
use crate::identity::{self, ServerIdentity, ServerIdentityError};
use crate::pki::{PkiError, random_hex};
use crate::remote;
use crate::server::{BoundServer, Limits, ListenSpec, Server as Sockets, ServerError};
use crate::settings::{CacheSettings, Settings, host_of};
use crate::store::{Database, OpenError, Store, StoreError, UpgradeWatch};

/// Threads that answer. The database bounds what more of them could do.
const WORKERS_MIN: usize = 2;
/// How long a database is waited for that somebody else has.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often is looked for nodes that fell silent.
const SILENCE_EVERY: Duration = Duration::from_secs(30);
/// How often is looked for releases whose day has come.
const UPGRADES_EVERY: Duration = Duration::from_secs(60);
/// How often is tidied up.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// Why the Master does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its files.
    #[error("{0}")]
    Files(#[from] FilesError),
    /// The database.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// What it keeps there.
    #[error("{0}")]
    First(#[from] FirstStartError),
    /// Its server certificate.
    #[error("{0}")]
    Identity(#[from] ServerIdentityError),
    /// Its network cache.
    #[error("{0}")]
    Cache(#[from] network_cache::OpenError),
    /// Randomness.
    #[error("{0}")]
    Pki(#[from] PkiError),
    /// The ports.
    #[error("{0}")]
    Listen(#[from] ServerError),
    /// The socket for administrators.
    #[error("cannot listen at {path}: {source}")]
    Administration {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The system gives no threads or signals.
    #[error("cannot start: {0}")]
    Start(#[source] std::io::Error),
    /// It ended on its own.
    #[error("stopped serving: {0}")]
    Serve(String),
}

/// Asks a running Master to stop. Clones ask the same one; when all are dropped nothing happens.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Shutdown {
    /// A handle that is not used yet.
    pub fn new() -> Self {
        Shutdown(Arc::new(watch::Sender::new(false)))
    }

    /// Asks to stop: no new requests, those under way are finished.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    async fn wait(&self) {
        let mut asked = self.0.subscribe();
        // The sender lives in `self`: this ends by a stop only.
        let _ = asked.wait_for(|asked| *asked).await;
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

/// A Master that answers.
#[derive(Clone)]
pub struct Started {
    /// Where it listens for HTTPS.
    pub listen: Vec<SocketAddr>,
    /// Where it listens for plain HTTP.
    pub plain: Vec<SocketAddr>,
    /// The URL for nodes, clients and people, without a slash at its end.
    pub public_url: String,
    /// The file with the certificate of its authority.
    pub authority_file: std::path::PathBuf,
    /// SHA-256 of that certificate, lower-case hexadecimal digits.
    pub authority_fingerprint: String,
    /// The way in for the first administrator, as long as none ever came in.
    pub welcome: Option<Welcome>,
}

/// Serves until SIGTERM, SIGINT or `shutdown`; blocks.
///
/// `on_ready` is called once requests are accepted.
///
/// # Errors
/// [`ServeError`], before `on_ready` in nearly all cases.
pub fn serve(
    settings: &Settings,
    shutdown: &Shutdown,
    on_ready: impl FnOnce(&Started),
) -> Result<(), ServeError> {
    run(settings, shutdown, true, on_ready)
}

fn run(
    settings: &Settings,
    shutdown: &Shutdown,
    signals: bool,
    on_ready: impl FnOnce(&Started),
) -> Result<(), ServeError> {
    let directory = DataDir::prepare(&settings.data_dir)?;
    let workers = std::thread::available_parallelism().map_or(WORKERS_MIN, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.max(WORKERS_MIN))
        .thread_name("master")
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    let store = Arc::new(open(&settings.database)?);
    let cache = settings.cache.as_ref().map(open_cache).transpose()?;
    let result = runtime.block_on(async {
        // Whoever asks to stop while we start is heard.
        let asked = asked_to_stop(shutdown, signals)?;
        let secrets = first_start::secrets(&directory, &store, &settings.organisation).await?;
        let (identity, sockets, listen) = bind(settings, &directory, &secrets).await?;
        let public_url = public_url(settings, &listen);
        let started = Started {
            plain: sockets.addresses().split_off(listen.len()),
            listen,
            public_url: public_url.clone(),
            authority_file: directory.file(identity::AUTHORITY_FILE),
            authority_fingerprint: secrets.authority.facts().fingerprint_sha256_hex.clone(),
            welcome: first_start::welcome(&store).await?,
        };
        let auth = Arc::new(Auth::new(
            Arc::clone(&store),
            Arc::clone(&secrets.authority),
            Arc::clone(&secrets.sealer),
            settings.trusted_proxies.clone(),
        ));
        let administration = Arc::new(Administration {
            store: Arc::clone(&store),
            auth: Arc::clone(&auth),
            authority: Arc::clone(&secrets.authority),
            sealer: Arc::clone(&secrets.sealer),
            directory: directory.clone(),
            database: settings.database.clone(),
            public_url: Some(public_url.clone()),
        });
        let socket = directory.file(admin::SOCKET);
        let administrators = admin::listen(administration, socket.clone())
            .await
            .map_err(|source| ServeError::Administration {
                path: socket,
                source,
            })?;
        let app = App::new(
            Arc::clone(&store),
            auth,
            Place {
                public_url,
                trusted_proxies: settings.trusted_proxies.clone(),
            },
            random_hex(16)?,
            secrets.epoch.clone(),
        );
        let app = app.with_cache(cache).with_catalogue(settings.catalogue);
        let app = Arc::new(app);
        let mut duties = duties(&store, &secrets, identity);
        duties.spawn(administrators);
        on_ready(&started);
        sockets.serve(api::router(app), asked).await;
        Ok(())
    });
    // Whatever still runs in the background must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    // The last owner closes the database: what was acknowledged is on disk, the lock is free.
    drop(store);
    result
}

/// Opens the database. Where an administrator has it, who does one thing and leaves, that is waited
/// for.
fn open(database: &Database) -> Result<Store, OpenError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Store::open(database, Arc::new(Hub::default())) {
            Err(OpenError::Locked { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            result => return result,
        }
    }
}

fn open_cache(settings: &CacheSettings) -> Result<Cache, network_cache::OpenError> {
    Ok(Cache {
        kept: NetworkCache::open(&settings.kept)?,
        public: settings.public,
    })
}

/// Is ready when the Master is asked to stop.
fn asked_to_stop(
    shutdown: &Shutdown,
    signals: bool,
) -> Result<impl Future<Output = ()> + use<>, ServeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut heard = None;
    if signals {
        let one = |kind| signal(kind).map_err(ServeError::Start);
        heard = Some((one(SignalKind::terminate())?, one(SignalKind::interrupt())?));
    }
    let shutdown = shutdown.clone();
    Ok(async move {
        match &mut heard {
            Some((terminate, interrupt)) => {
                tokio::select! {
                    () = shutdown.wait() => {}
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            None => shutdown.wait().await,
        }
    })
}

/// Takes the ports; the addresses of HTTPS come first.
async fn bind(
    settings: &Settings,
    directory: &DataDir,
    secrets: &Secrets,
) -> Result<(ServerIdentity, BoundServer, Vec<SocketAddr>), ServeError> {
    let names = server_names(settings);
    let identity = ServerIdentity::load(
        directory,
        settings.certificate.clone(),
        Arc::clone(&secrets.authority),
        names,
    )?;
    let specs = |any: &str| -> Vec<ListenSpec> {
        let spec = |listen: &crate::settings::Listen, tls| ListenSpec {
            host: if listen.host == "::" {
                any.to_owned()
            } else {
                listen.host.clone()
            },
            port: listen.port,
            tls,
        };
        let tls = || Some(Arc::clone(identity.tls()));
        let secure = settings.listen.iter().map(|listen| spec(listen, tls()));
        secure
            .chain(settings.plain.iter().map(|listen| spec(listen, None)))
            .collect()
    };
    let sockets = match Sockets::bind(&specs("::"), Limits::default()).await {
        // A machine without IPv6 has no such address; all addresses are meant.
        Err(ServerError::Listen { host, .. }) if host == "::" => {
            Sockets::bind(&specs("0.0.0.0"), Limits::default()).await?
        }
        other => other?,
    };
    let mut listen = sockets.addresses();
    listen.truncate(settings.listen.len());
    Ok((identity, sockets, listen))
}

/// The name of this machine.
fn machine_name() -> Option<String> {
    let name = rustix::system::uname();
    let name = name.nodename().to_str().ok()?;
    (!name.is_empty() && name != "(none)").then(|| name.to_ascii_lowercase())
}

/// All names under which this machine may be reached.
fn server_names(settings: &Settings) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let public = settings.public_url.as_deref().and_then(host_of);
    names.extend(public.map(str::to_owned));
    names.extend(settings.server_names.iter().cloned());
    names.extend(machine_name());
    let specific = settings
        .listen
        .iter()
        .map(|listen| listen.host.as_str())
        .filter(|host| !matches!(*host, "::" | "0.0.0.0"));
    names.extend(specific.map(str::to_owned));
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    names.extend(own_addresses().iter().map(IpAddr::to_string));
    names
}

/// The addresses this machine uses towards the world. Nothing is sent: a socket only asks the
/// system for its way there.
fn own_addresses() -> Vec<IpAddr> {
    [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")]
        .into_iter()
        .filter_map(|(any, far)| {
            let socket = UdpSocket::bind(any).ok()?;
            socket.connect(far).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
        .filter(|address| !address.is_unspecified())
        .collect()
}

/// The URL for everybody, where the configuration says none.
fn public_url(settings: &Settings, listen: &[SocketAddr]) -> String {
    if let Some(url) = &settings.public_url {
        return url.clone();
    }
    let specific = settings
        .listen
        .first()
        .map(|listen| listen.host.as_str())
        .filter(|host| !matches!(*host, "::" | "0.0.0.0"));
    let host = specific
        .map(str::to_owned)
        .or_else(machine_name)
        .unwrap_or_else(|| "localhost".to_owned());
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host
    };
    match listen.first().map(SocketAddr::port) {
        None | Some(443) => format!("https://{host}"),
        Some(port) => format!("https://{host}:{port}"),
    }
}

/// What the Master does by itself. Dropping the set ends it.
fn duties(store: &Arc<Store>, secrets: &Secrets, identity: ServerIdentity) -> JoinSet<()> {
    let mut duties = JoinSet::new();
    duties.spawn(remote::run(Arc::clone(store), Arc::clone(&secrets.sealer)));
    duties.spawn(identity.keep_fresh());
    let of_silence = Arc::clone(store);
    duties.spawn(every(SILENCE_EVERY, move || {
        let store = Arc::clone(&of_silence);
        async move { store.close_silent_nodes().await.map(|_| ()) }
    }));
    let of_upgrades = Arc::clone(store);
    duties.spawn(async move {
        let mut watch = UpgradeWatch::default();
        loop {
            if let Err(error) = watch.look(&of_upgrades).await {
                tracing::warn!("upgrades were not looked after: {error}");
            }
            tokio::time::sleep(UPGRADES_EVERY).await;
        }
    });
    let of_tidying = Arc::clone(store);
    duties.spawn(every(TIDY_EVERY, move || {
        let store = Arc::clone(&of_tidying);
        async move { store.forget_expired().await.map(|_| ()) }
    }));
    duties
}

/// Does something now and then. A failure is told, and the next turn tries again.
async fn every<F, Fut>(pause: Duration, work: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), StoreError>>,
{
    loop {
        if let Err(error) = work().await {
            tracing::warn!("a duty of the Master was not done: {error}");
        }
        tokio::time::sleep(pause).await;
    }
}

/// A Master that runs on a thread of this process, for tests and for programs that contain one.
///
/// Dropping it stops it and waits until its data is on disk.
pub struct Server {
    started: Started,
    shutdown: Shutdown,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    /// Starts and returns once requests are accepted. Signals are left to the process.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn start(settings: Settings) -> Result<Self, ServeError> {
        let shutdown = Shutdown::new();
        let (ready, started) = mpsc::channel();
        let stop = shutdown.clone();
        let thread = std::thread::Builder::new()
            .name("master-main".to_owned())
            .spawn(move || {
                run(&settings, &stop, false, move |started| {
                    // Whoever started us may have gone.
                    let _ = ready.send(started.clone());
                })
            })
            .map_err(ServeError::Start)?;
        match started.recv() {
            Ok(started) => Ok(Server {
                started,
                shutdown,
                thread: Some(thread),
            }),
            Err(_) => Err(match thread.join() {
                Ok(Err(error)) => error,
                Ok(Ok(())) => ServeError::Serve("it stopped at once".to_owned()),
                Err(_) => ServeError::Serve("it ended in a panic".to_owned()),
            }),
        }
    }

    /// How it answers.
    pub fn started(&self) -> &Started {
        &self.started
    }

    /// Stops it and waits.
    ///
    /// # Errors
    /// Why it had stopped on its own.
    pub fn stop(&mut self) -> Result<(), ServeError> {
        self.shutdown.stop();
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(ServeError::Serve("it ended in a panic".to_owned())),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!("{error}");
        }
    }
}
