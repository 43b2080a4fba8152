//! A Master's door: recognising the Master, and turning a one-time token into a certificate (P 5.2–5.4).

pub(crate) mod dialog;
pub(crate) mod staging;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use slap_client::{Client, Enrolled, Enrolment, Error, Fingerprint, Settings, Trust};

use crate::args::enrol::{Access, Proof};
use crate::document;
use crate::failure::Failure;
use crate::{output, settings};

/// Upstream's Master, for whoever names none.
const PUBLIC_MASTER: &str = "https://slap.vifib.com";
/// Where it turns tokens into certificates.
const PUBLIC_WEB: &str = "https://panel.rapid.space";

/// The largest file with an authority's certificate, in bytes.
const AUTHORITY_BYTES_MAX: u64 = 1 << 20;

/// A Master that was recognised.
#[derive(Debug)]
pub(crate) struct Door {
    enrolment: Enrolment,
    /// The URL of its API, as it goes into a configuration.
    pub(crate) master_url: String,
    trust: Trust,
}

/// The URLs of the API and of the door. A Master of one's own has one URL: naming it once does.
fn urls(access: &Access) -> (String, String) {
    let public = |url: &str, known: &str| url.trim_end_matches('/') == known;
    let (api, web) = match (&access.master_url, &access.master_url_web) {
        (None, None) => (PUBLIC_MASTER, PUBLIC_WEB),
        (Some(api), None) if public(api, PUBLIC_MASTER) => (api.as_str(), PUBLIC_WEB),
        (None, Some(web)) if public(web, PUBLIC_WEB) => (PUBLIC_MASTER, web.as_str()),
        (Some(one), None) | (None, Some(one)) => (one.as_str(), one.as_str()),
        (Some(api), Some(web)) => (api.as_str(), web.as_str()),
    };
    (api.to_owned(), web.to_owned())
}

/// The token in a file.
fn token_from(file: &Path) -> Result<String, Failure> {
    let text = if file == Path::new("-") {
        document::text(Ok(io::stdin().lock()))
    } else {
        document::text(File::open(file))
    };
    let text = text.map_err(|why| {
        Failure::new(format!(
            "cannot read the token in {}: {why}",
            file.display()
        ))
    })?;
    match text.trim() {
        "" => Err(Failure::new(format!("no token is in {}", file.display()))),
        token => Ok(token.to_owned()),
    }
}

impl Door {
    /// Finds out whom to believe to be the Master. No token is sent.
    pub(crate) fn open(access: &Access) -> Result<Self, Failure> {
        let (master_url, web_url) = urls(access);
        // The same check of both, before anything happens.
        let master_url = Client::new(Settings::new(master_url))?
            .master_url()
            .to_owned();
        let secure = web_url.starts_with("https://");
        let trust = if access.proof.insecure {
            tracing::warn!("whoever answers at {web_url} is believed to be the Master");
            Trust::Insecure
        } else if let Some(file) = &access.proof.master_ca_file {
            Trust::CaText(authority_file(file)?)
        } else if secure {
            recognise(access.proof.fingerprint, &web_url)?
        } else {
            tracing::warn!("{web_url} is not encrypted: token and key can be read on the way");
            Trust::WebRoots
        };
        let enrolment = Enrolment::new(&web_url, trust.clone())?;
        enrolment.probe()?;
        Ok(Door {
            enrolment,
            master_url,
            trust,
        })
    }

    /// Gets the token, from the command line or the keyboard.
    pub(crate) fn token(proof: &Proof, prompt: &str) -> Result<String, Failure> {
        if let Some(file) = &proof.token_file {
            return token_from(file);
        }
        match proof.token.as_deref().map(str::trim) {
            Some(token) if !token.is_empty() => Ok(token.to_owned()),
            _ => dialog::ask_secret(
                prompt,
                "give a token with --token, in $SLAPOS_TOKEN, or on the standard input; the Master makes tokens on \
                 its page `servers`, or with `slapos master token create`",
            ),
        }
    }

    /// A certificate for the token's person.
    pub(crate) fn person(&self, token: &str) -> Result<Enrolled, Failure> {
        self.enrolment.person(token).map_err(refused)
    }

    /// A certificate for a node of this title.
    pub(crate) fn node(&self, token: &str, title: &str) -> Result<Enrolled, Failure> {
        self.enrolment.node(token, title).map_err(|error| {
            if error.detail().contains("Certificate still active.") {
                return Failure::new(format!(
                    "The node name \"{title}\" is already in use. Please change the name, or \
                     revoke the active certificate if you want to replace the node."
                ))
                .because(&error);
            }
            refused(error)
        })
    }

    /// The authority's certificate, where the Master has one of its own.
    pub(crate) fn authority(&self) -> Option<&str> {
        match &self.trust {
            Trust::CaText(pem) => Some(pem),
            _ => None,
        }
    }

    /// The lines of section `[slapos]` by which the Master is recognised later.
    pub(crate) fn options(&self, authority: &str) -> String {
        match &self.trust {
            Trust::CaText(_) => format!("master_ca_file = {}\n", escaped(authority)),
            Trust::Insecure => "master_tls_verify = false\n".to_owned(),
            _ => String::new(),
        }
    }

    /// How to reach the Master's API with what was given.
    pub(crate) fn client(&self, enrolled: &Enrolled) -> Result<Client, Error> {
        let mut settings = Settings::new(self.master_url.clone());
        settings.trust = self.trust.clone();
        settings.identity = Some(slap_client::Identity {
            certificate: enrolled.certificate.clone(),
            key: enrolled.key.clone(),
        });
        Client::new(settings)
    }
}

/// A literal percent sign is written twice in this dialect.
pub(crate) fn escaped(value: &str) -> String {
    value.replace('%', "%%")
}

fn probe(web_url: &str, trust: Trust) -> Result<(), Error> {
    Enrolment::new(web_url, trust)?.probe()
}

/// A Master with a certificate that every browser believes, or with an authority of its own, for
/// whose fingerprint somebody vouches.
fn recognise(expected: Option<Fingerprint>, web_url: &str) -> Result<Trust, Failure> {
    if expected.is_none() {
        match probe(web_url, Trust::WebRoots) {
            Ok(()) => return Ok(Trust::WebRoots),
            Err(Error::Tls { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Nothing secret is sent to whom nobody knows yet.
    let authority = Enrolment::new(web_url, Trust::Insecure)?.authority();
    let authority = authority.map_err(|error| match error {
        Error::Connection { .. } => error.into(),
        _ => Failure::new(format!(
            "the Master at {web_url} cannot be recognised: its certificate is of no public \
             authority, and it shows none of its own"
        ))
        .because(&error)
        .hint("name the certificate of its authority with --master-ca-file"),
    })?;
    vouch(expected, authority.fingerprint, web_url)?;
    let own = Trust::CaText(authority.pem);
    match probe(web_url, own.clone()) {
        Ok(()) => Ok(own),
        // The authority is for nodes and persons only, the server has a certificate from elsewhere.
        Err(error @ Error::Tls { .. }) => match probe(web_url, Trust::WebRoots) {
            Ok(()) => Ok(Trust::WebRoots),
            Err(_) => Err(Failure::from(error)
                .hint("name the certificate of its authority with --master-ca-file")),
        },
        Err(error) => Err(error.into()),
    }
}

/// Nobody is believed without a word from elsewhere: a fingerprint given, or a yes.
fn vouch(expected: Option<Fingerprint>, shown: Fingerprint, web_url: &str) -> Result<(), Failure> {
    if let Some(expected) = expected {
        return if expected == shown {
            Ok(())
        } else {
            Err(Failure::new(format!(
                "{web_url} shows an authority with the SHA-256 fingerprint {shown}, which is not \
                 the one you gave"
            ))
            .hint("it is another Master, or somebody is between it and you; nothing was sent"))
        };
    }
    output::complain(&format!(
        "The Master at {web_url} has an authority of its own, with the SHA-256 fingerprint\n\
         \x20 {shown}\n\
         Compare it with what the Master printed when it was started."
    ));
    match dialog::confirm("Is it the same?")? {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new(
            "the Master was not recognised; nothing was sent",
        )),
        None => Err(Failure::new(format!(
            "the Master at {web_url} has an authority of its own, and nobody vouches for its \
             fingerprint"
        ))
        .hint(format!(
            "if it is what the Master printed when it was started, say --fingerprint {shown}"
        ))),
    }
}

fn authority_file(file: &Path) -> Result<String, Failure> {
    let path = settings::expand_home(file);
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(AUTHORITY_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    Ok(text)
}

/// What a Master says to a token it does not take, in upstream's words.
fn refused(error: Error) -> Failure {
    match &error {
        Error::Refused { status: 403, .. } => {
            let failure = Failure::new(
                "Access denied to the SlapOS Master. Please check the authentication token or \
                 require a new one.",
            );
            let said = error.detail();
            match said {
                "" => failure,
                said => failure.hint(format!("the Master says: {said}")),
            }
        }
        Error::Connection { .. } => Failure::from(error)
            .hint("the token may be used up all the same; if it is, make a new one"),
        _ => Failure::from(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_url_is_enough_for_a_master_of_ones_own() {
        let found = |api: Option<&str>, web: Option<&str>| {
            let access = Access {
                master_url: api.map(str::to_owned),
                master_url_web: web.map(str::to_owned),
                proof: Proof {
                    token_file: None,
                    token: None,
                    fingerprint: None,
                    master_ca_file: None,
                    insecure: false,
                },
            };
            urls(&access)
        };
        let (public, panel) = (PUBLIC_MASTER, PUBLIC_WEB);
        let mine = "https://m.example:8443";
        for (api, web, expected) in [
            (None, None, (public, panel)),
            (Some(mine), None, (mine, mine)),
            (None, Some(mine), (mine, mine)),
            (
                Some("https://slap.vifib.com/"),
                None,
                ("https://slap.vifib.com/", panel),
            ),
            (None, Some(panel), (public, panel)),
            (Some(mine), Some(panel), (mine, panel)),
        ] {
            let expected = (expected.0.to_owned(), expected.1.to_owned());
            assert_eq!(found(api, web), expected, "{api:?} {web:?}");
        }
    }
}
