//! A Master for many users and nodes, on TLS, where a rig's Master is.

use std::path::PathBuf;
use std::time::Duration;

use crate::rig::Rig;
use crate::wait::eventually_some;

/// How long the Master may take to say how to come in.
const SOON: Duration = Duration::from_secs(60);

/// What the first start of a Master says.
#[derive(Debug, Clone)]
pub struct Welcome {
    /// A one-time token for the first administrator's certificate.
    pub token: String,
    /// SHA-256 of the certificate of its authority.
    pub fingerprint: String,
}

impl Rig {
    /// The URL of the full Master, without a slash at its end.
    pub fn full_master_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port().number())
    }

    /// Its data directory.
    pub fn full_master_data(&self) -> PathBuf {
        self.path().join("master")
    }

    /// Starts `slapos master start`, for the first time or again, and waits until it answers.
    pub fn start_full_master(&self) {
        let listen = format!("127.0.0.1:{}", self.port().number());
        let url = self.full_master_url();
        let start = self
            .slapos(["master", "start", "--listen", &listen, "--public-url", &url])
            .arg("--data-dir")
            .arg(self.full_master_data());
        self.start_master_as(&start);
    }

    /// What its first start said.
    #[track_caller]
    pub fn welcome(&self) -> Welcome {
        // The last line of it may come in two pieces.
        let said = eventually_some("the Master says how to come in", SOON, || {
            let said = self.read("log/master.log");
            said.contains("slapos node register").then_some(said)
        });
        let after = |words: &str| {
            said.split(words)
                .nth(1)
                .and_then(|rest| rest.split_whitespace().next())
                .unwrap_or_else(|| panic!("no {words:?} in:\n{said}"))
                .to_owned()
        };
        Welcome {
            token: after("--token "),
            fingerprint: after("SHA-256 "),
        }
    }
}
