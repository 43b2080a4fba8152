//! Every way a call can fail, sorted by what the caller does about it (P 1.2).

use std::path::PathBuf;

/// A call to a Master that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Master does not know the thing, or has no room for it (404).
    #[error("{}", with_detail(what, detail))]
    NotFound {
        /// The call.
        what: String,
        /// What the Master says about it, as text.
        detail: String,
    },
    /// The Master accepted it and has nothing to show yet (408).
    #[error("{}", with_detail(&format!("{what}: not ready yet; ask again later"), detail))]
    NotReady {
        /// The call.
        what: String,
        /// What the Master says about it, as text.
        detail: String,
    },
    /// The Master, or what stands before it, failed (500, 502, 503, 520, 523, 524, 526).
    #[error("{}", with_detail(&format!("the Master failed with status {status} at {what}"), detail))]
    Server {
        /// The HTTP status.
        status: u16,
        /// The call.
        what: String,
        /// What the Master says about it, as text.
        detail: String,
    },
    /// The Master refuses the call (any other status).
    #[error("{}", with_detail(&format!("the Master refused {what} with status {status}"), detail))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The call.
        what: String,
        /// What the Master says about it, as text.
        detail: String,
    },
    /// A name that nothing has.
    #[error("there is no {kind} `{name}`")]
    UnknownName {
        /// What it should be the name of.
        kind: &'static str,
        /// The name.
        name: String,
        /// Names that were perhaps meant, the likeliest first.
        similar: Vec<String>,
    },
    /// Nobody answers.
    #[error("cannot reach the Master at {url}: {reason}")]
    Connection {
        /// The Master's URL.
        url: String,
        /// Why.
        reason: String,
    },
    /// Somebody answers, but not one we may trust, or one that does not trust us.
    #[error("no trustworthy connection to the Master at {url}: {reason}")]
    Tls {
        /// The Master's URL.
        url: String,
        /// Why.
        reason: String,
    },
    /// The Master's answer cannot be understood.
    #[error("the answer of {what} cannot be understood: {reason}")]
    Reply {
        /// The call.
        what: String,
        /// Why.
        reason: String,
    },
    /// A certificate, key or CA file cannot be used.
    #[error("cannot use {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The Master's URL makes no sense.
    #[error("`{url}` cannot be the URL of a Master: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// Why.
        reason: String,
    },
    /// What shall be sent cannot be written down.
    #[error("cannot send {what}: {reason}")]
    Unsendable {
        /// The call.
        what: String,
        /// Why.
        reason: String,
    },
    /// The Master serves no HATEOAS documents, which this command needs.
    #[error("the Master at {url} serves no documents to list from (HATEOAS)")]
    NoHateoas {
        /// The Master's URL.
        url: String,
    },
}

fn with_detail(what: &str, detail: &str) -> String {
    if detail.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {detail}")
    }
}

impl Error {
    /// Whether the Master is out of reach, so that a node goes on without it (quirk 12).
    pub fn is_master_unreachable(&self) -> bool {
        matches!(
            self,
            Error::Connection { .. } | Error::Tls { .. } | Error::Server { .. }
        )
    }

    /// What the Master says about it, as text; empty where it says nothing.
    pub fn detail(&self) -> &str {
        match self {
            Error::NotFound { detail, .. }
            | Error::NotReady { detail, .. }
            | Error::Server { detail, .. }
            | Error::Refused { detail, .. } => detail,
            _ => "",
        }
    }

    /// Whether the Master does not know the thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotFound { .. })
    }

    /// Whether asking again later may help without doing anything.
    pub fn is_not_ready(&self) -> bool {
        matches!(self, Error::NotReady { .. })
    }
}

/// The error of a status other than 2xx (P 1.2).
pub(crate) fn of_status(status: u16, what: &str, body: &str) -> Error {
    let what = what.to_owned();
    let detail = readable(body);
    match status {
        404 => Error::NotFound { what, detail },
        408 => Error::NotReady { what, detail },
        500 | 502 | 503 | 520 | 523 | 524 | 526 => Error::Server {
            status,
            what,
            detail,
        },
        _ => Error::Refused {
            status,
            what,
            detail,
        },
    }
}

/// What a person can read of an error page: its text without tags and titles, on one line.
fn readable(body: &str) -> String {
    let body = body
        .rfind("</h1>")
        .map_or(body, |at| &body[at + "</h1>".len()..]);
    let mut text = String::new();
    let mut in_tag = false;
    for character in body.chars() {
        match character {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                text.push(' ');
            }
            _ if in_tag => {}
            other => text.push(other),
        }
    }
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#39;", "'")
        .replace("&#34;", "\"")
        .replace("&quot;", "\"")
        .replace("&amp;", "&");
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_become_what_upstream_makes_of_them() {
        assert!(of_status(404, "x", "").is_not_found());
        assert!(of_status(408, "x", "").is_not_ready());
        for status in [500, 502, 503, 520, 523, 524, 526] {
            assert!(
                of_status(status, "x", "").is_master_unreachable(),
                "{status}"
            );
        }
        for status in [400, 401, 403, 405, 409, 410, 429, 501, 504] {
            let error = of_status(status, "x", "");
            assert!(matches!(error, Error::Refused { .. }), "{status}");
        }
    }

    #[test]
    fn the_masters_words_reach_the_user() {
        let page = "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n\
                    <h1>Not Found</h1>\n<p>No free computer partition found for: a &amp; b</p>\n";
        assert_eq!(
            of_status(404, "requestComputerPartition", page).to_string(),
            "requestComputerPartition: No free computer partition found for: a & b"
        );
        assert_eq!(readable("plain text"), "plain text");
        assert_eq!(readable(""), "");
    }
}
