//! Where a database is and how to get there, as PostgreSQL's own programs understand it:
//! `postgres://USER:PASSWORD@HOST:PORT/NAME?sslmode=verify-full&sslrootcert=FILE`.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use postgres::config::{Host, SslMode, TargetSessionAttrs};
use postgres::{Client, Config};

use super::tls::{Tls, Trust};

/// Where Debian's PostgreSQL has its socket.
const SOCKET_DIRECTORY: &str = "/run/postgresql";
/// The certificates the system trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer may be silent before it counts as gone.
const SILENCE: Duration = Duration::from_secs(20);

/// The address of a database, and whom to trust there. It prints without its password.
pub(crate) struct ServerAddress {
    config: Config,
    tls: Tls,
}

impl ServerAddress {
    /// Reads a URL. A password that it does not hold is taken from the environment's `PGPASSWORD`,
    /// or from the password file.
    ///
    /// # Errors
    /// A sentence for the user, without the password.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        Self::with_environment(url, &|name| std::env::var_os(name))
    }

    fn with_environment(
        url: &str,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, String> {
        let (rest, ours) = take_out(url)?;
        let mut config: Config = rest.parse().map_err(|error: postgres::Error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!(
                "the address of the PostgreSQL database cannot be read: {}",
                cause.unwrap_or_else(|| error.to_string())
            )
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host(SOCKET_DIRECTORY);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
            config.keepalives_idle(SILENCE / 2);
            config.keepalives_interval(SILENCE / 8);
            config.keepalives_retries(4);
        }
        if config.get_application_name().is_none() {
            config.application_name("slapos master");
        }
        if config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if config.get_password().is_none() {
            if let Some(password) = environment("PGPASSWORD") {
                config.password(password.into_encoded_bytes());
            } else if let Some(password) = password_file(&config, &ours, environment) {
                config.password(password);
            }
        }
        // What goes over a socket of this machine needs no TLS, and the server offers none there.
        let local = config
            .get_hosts()
            .iter()
            .all(|host| matches!(host, Host::Unix(_)));
        let trust = if local && config.get_hostaddrs().is_empty() {
            config.ssl_mode(SslMode::Disable);
            Trust::Anyone
        } else {
            trust(&mut config, &ours, environment)?
        };
        let files = (ours.certificate, ours.key);
        let tls = Tls::new(&trust, files)?;
        Ok(ServerAddress { config, tls })
    }

    pub(super) fn connect(&self) -> Result<Client, postgres::Error> {
        self.config.connect(self.tls.clone())
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        let ports = self.config.get_ports();
        for (nth, host) in self.config.get_hosts().iter().enumerate() {
            if nth > 0 {
                f.write_str(",")?;
            }
            match host {
                Host::Tcp(name) => f.write_str(name)?,
                Host::Unix(path) => write!(f, "{}", path.display())?,
            }
            if let Some(port) = ports.get(nth).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

/// The parameters of the URL that the client does not know.
#[derive(Default)]
struct Ours {
    mode: Option<String>,
    roots: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    passwords: Option<PathBuf>,
}

/// Splits the URL into what the client understands, and the rest.
fn take_out(url: &str) -> Result<(String, Ours), String> {
    let mut ours = Ours::default();
    // A question mark in the password is no beginning of parameters.
    let authority = url.find("://").map_or(0, |place| place + 3);
    let authority_end = url.get(authority..).unwrap_or_default().find('/');
    let credentials_end = url
        .get(authority..authority_end.map_or(url.len(), |end| authority + end))
        .and_then(|text| text.rfind('@'))
        .map_or(authority, |place| authority + place);
    let Some(question) = url
        .get(credentials_end..)
        .and_then(|text| text.find('?'))
        .map(|place| credentials_end + place)
    else {
        return Ok((url.to_owned(), ours));
    };
    let (base, query) = url.split_at(question);
    let mut kept = Vec::new();
    for pair in query.trim_start_matches('?').split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| format!("the parameter {name} of the database's address is no UTF-8"))?
            .into_owned();
        let path = || Some(PathBuf::from(&value));
        match name {
            "sslmode" => ours.mode = Some(value),
            "sslrootcert" => ours.roots = path(),
            "sslcert" => ours.certificate = path(),
            "sslkey" => ours.key = path(),
            "passfile" => ours.passwords = path(),
            _ => kept.push(pair),
        }
    }
    let rest = if kept.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", kept.join("&"))
    };
    Ok((rest, ours))
}

/// What the way there must be, by `sslmode`.
fn trust(
    config: &mut Config,
    ours: &Ours,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Trust, String> {
    let roots = ours.roots.clone().or_else(|| {
        let usual = PathBuf::from(environment("HOME")?).join(".postgresql/root.crt");
        usual.exists().then_some(usual)
    });
    let roots = roots.map(|path| {
        if path == Path::new("system") {
            environment("SSL_CERT_FILE").map_or_else(|| SYSTEM_ROOTS.into(), PathBuf::from)
        } else {
            path
        }
    });
    let needed = |mode: &str| {
        roots.clone().ok_or_else(|| {
            format!(
                "sslmode={mode} needs a certificate to trust: add sslrootcert=FILE, or \
                 sslrootcert=system"
            )
        })
    };
    let (mode, trust) = match ours.mode.as_deref() {
        Some("disable") => (SslMode::Disable, Trust::Anyone),
        None | Some("allow" | "prefer") => (SslMode::Prefer, Trust::Anyone),
        // As libpq: a certificate that is given is minded.
        Some("require") => (
            SslMode::Require,
            roots.map_or(Trust::Anyone, Trust::SignedBy),
        ),
        Some(mode @ "verify-ca") => (SslMode::Require, Trust::SignedBy(needed(mode)?)),
        Some(mode @ "verify-full") => (SslMode::Require, Trust::Host(needed(mode)?)),
        Some(other) => {
            return Err(format!(
                "sslmode={other} is not known; use disable, prefer, require, verify-ca or verify-full"
            ));
        }
    };
    config.ssl_mode(mode);
    Ok(trust)
}

/// The password of this address in the password file: `HOST:PORT:NAME:USER:PASSWORD`, where `*`
/// stands for anything and `\` takes the meaning from what follows.
fn password_file(
    config: &Config,
    ours: &Ours,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Option<String> {
    let path = ours
        .passwords
        .clone()
        .or_else(|| environment("PGPASSFILE").map(PathBuf::from))
        .or_else(|| Some(PathBuf::from(environment("HOME")?).join(".pgpass")))?;
    let mode = std::fs::metadata(&path).ok()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(
            "the password file {} is not used: others may read it; run chmod 600",
            path.display()
        );
        return None;
    }
    let text = std::fs::read_to_string(&path).ok()?;
    let user = config
        .get_user()
        .map(str::to_owned)
        .or_else(|| environment("USER")?.into_string().ok())?;
    let database = config.get_dbname().unwrap_or(&user);
    let ports = config.get_ports();
    config
        .get_hosts()
        .iter()
        .enumerate()
        .find_map(|(nth, host)| {
            let host = match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) if path == Path::new(SOCKET_DIRECTORY) => "localhost".to_owned(),
                Host::Unix(path) => path.display().to_string(),
            };
            let port = ports.get(nth).or(ports.first()).copied().unwrap_or(5432);
            let wanted = [&host, &port.to_string(), database, &user];
            text.lines().find_map(|line| password_in(line, wanted))
        })
}

fn password_in(line: &str, wanted: [&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ':' if fields.len() < 5 => fields.push(String::new()),
            letter => {
                let letter = if letter == '\\' {
                    letters.next()?
                } else {
                    letter
                };
                fields.last_mut()?.push(letter);
            }
        }
    }
    let password = fields.get(4)?.clone();
    let same = fields
        .iter()
        .zip(wanted)
        .all(|(field, wanted)| field == "*" || field == wanted);
    same.then_some(password)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(url: &str) -> Result<ServerAddress, String> {
        ServerAddress::with_environment(url, &|_| None)
    }

    fn password(address: &ServerAddress) -> Option<String> {
        address
            .config
            .get_password()
            .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://u:secret@h:5433/d", "postgres://u@h:5433/d"),
            (
                "postgresql://u:secret@h1,h2:6/d?sslmode=disable",
                "postgres://u@h1:5432,h2:6/d",
            ),
            ("postgres:///d", "postgres:///run/postgresql/d"),
            ("postgres://u@/d", "postgres://u@/run/postgresql/d"),
            (
                "postgres://u@%2Ftmp%2Fx/d?password=secret",
                "postgres://u@/tmp/x:5432/d",
            ),
            (
                "postgres://u:secret?@h/d?connect_timeout=3",
                "postgres://u@h:5432/d",
            ),
        ] {
            assert_eq!(parse(url).unwrap().to_string(), shown, "{url}");
        }
        for url in [
            "postgres://u:secret@h/d?secret=secret2",
            "postgres://u:secret@h/d?sslmode=maybe",
            "postgres://u:secret@h:port/d",
            "postgres://u:secret@h/d?sslmode=verify-full",
            "postgres://u:secret@h/d?sslmode=verify-full&sslrootcert=/nowhere",
        ] {
            let error = parse(url).err().unwrap();
            assert!(!error.contains("secret@"), "{error}");
        }
    }

    #[test]
    fn a_password_comes_from_the_address_the_environment_or_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pass");
        std::fs::write(
            &file,
            "# all\nh:5432:other:*:no\n*:*:d:u:a\\:b\\\\c:d\n/tmp/x:*:*:*:sock\n",
        )
        .unwrap();
        let chmod = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        chmod(0o600);
        let from_file = |name: &str| (name == "PGPASSFILE").then(|| file.clone().into_os_string());
        let from_variable = |name: &str| match name {
            "PGPASSWORD" => Some("variable".into()),
            name => from_file(name),
        };
        let get = |url: &str, environment: &dyn Fn(&str) -> Option<OsString>| {
            password(&ServerAddress::with_environment(url, environment).unwrap())
        };
        assert_eq!(get("postgres://u:p@h/d", &from_variable).unwrap(), "p");
        assert_eq!(get("postgres://u@h/d", &from_variable).unwrap(), "variable");
        assert_eq!(get("postgres://u@h/d", &from_file).unwrap(), "a:b\\c:d");
        assert_eq!(
            get("postgres://v@%2Ftmp%2Fx/e", &from_file).unwrap(),
            "sock"
        );
        assert_eq!(get("postgres://v@h/d", &from_file), None);
        let named = format!("postgres://u@h/d?passfile={}", file.display());
        assert_eq!(get(&named, &|_| None).unwrap(), "a:b\\c:d");
        chmod(0o640);
        assert_eq!(
            get("postgres://u@h/d", &from_file),
            None,
            "others may read it"
        );
    }
}
