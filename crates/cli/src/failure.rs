//! Every failure as one line, a hint, and an exit code (C 1.2). Details with `-v`.

use std::error::Error as StdError;
use std::fmt::Display;
use std::process::ExitCode;

/// The exit codes users script against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// It could not be done.
    Failed = 1,
    /// Wrong usage, not found, or not ready yet: upstream's clients share one code for the three.
    Usage = 2,
    /// No such command, or root is needed.
    Refused = 5,
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    details: Vec<String>,
    code: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Display) -> Self {
        Failure {
            message: message.to_string(),
            hint: None,
            details: Vec::new(),
            code: Code::Failed as u8,
        }
    }

    /// Somebody pressed Ctrl-C: nothing to say, and the code shells know for it.
    pub(crate) fn interrupted() -> Self {
        Failure::new("").exit_code(130)
    }

    /// An error with the chain of its causes.
    pub(crate) fn of(error: &dyn StdError) -> Self {
        let mut failure = Failure::new(error);
        let mut cause = error.source();
        while let Some(error) = cause {
            failure.details.push(error.to_string());
            cause = error.source();
        }
        failure
    }

    /// What lies behind it, for whoever wants the details.
    pub(crate) fn because(mut self, error: &dyn StdError) -> Self {
        self.details.push(error.to_string());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    pub(crate) fn code(mut self, code: Code) -> Self {
        self.code = code as u8;
        self
    }

    pub(crate) fn exit_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same, with what it is about before it.
    pub(crate) fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The message and the hint, on one line.
    pub(crate) fn with_hint(&self) -> String {
        match &self.hint {
            Some(hint) => harmless(&format!("{}; {hint}", self.message)),
            None => harmless(&self.message),
        }
    }

    /// Prints the failure and gives the exit code.
    pub(crate) fn report(self, verbose: u8) -> ExitCode {
        if self.message.is_empty() {
            return ExitCode::from(self.code);
        }
        let red = crate::output::stderr_style("\x1b[1;31m");
        let cyan = crate::output::stderr_style("\x1b[36m");
        let off = crate::output::stderr_style("\x1b[0m");
        crate::output::complain(&format!("{red}error:{off} {}", harmless(&self.message)));
        if verbose > 0 {
            for detail in &self.details {
                crate::output::complain(&format!("  cause: {}", harmless(detail)));
            }
        }
        if let Some(hint) = &self.hint {
            crate::output::complain(&format!("{cyan}hint:{off} {}", harmless(hint)));
        }
        ExitCode::from(self.code)
    }
}

/// A text without what a terminal takes for an order: parts of it are other people's words.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\n' {
            out.extend(character.escape_debug());
        } else {
            out.push(character);
        }
    }
    out
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<slap_client::Error> for Failure {
    fn from(error: slap_client::Error) -> Self {
        use slap_client::Error;
        let failure = Failure::of(&error);
        match &error {
            Error::Connection { .. } => failure
                .hint("check `master_url` in your configuration, and that the Master is running"),
            Error::Tls { reason, .. } if reason.contains("does not speak TLS") => {
                failure.hint("check `master_url` in your configuration")
            }
            Error::Tls { .. } => failure.hint(
                "name the authority of the Master's certificate with `master_ca_file` in [slapos]",
            ),
            Error::NotReady { .. } => failure.code(Code::Usage),
            Error::UnknownName {
                kind,
                name,
                similar,
            } => unknown(kind, name, similar),
            Error::Refused { status: 401, .. } => {
                failure.hint("`slapos login` gets a new key and certificate")
            }
            Error::Refused { status: 403, .. } => {
                failure.hint("check `cert_file` and `key_file` in your configuration")
            }
            Error::Refused { status: 400, .. } if error.detail().contains("speaks HTTPS") => {
                failure.hint("write `master_url = https://…` into your configuration")
            }
            Error::File { .. } => failure.hint("`slapos login` gets a new key and certificate"),
            Error::NoHateoas { .. } => {
                failure.hint("name the place of its documents with `master_rest_url` in [slapos]")
            }
            _ => failure,
        }
    }
}

/// A name that nothing has: what was meant, or where to look.
fn unknown(kind: &str, name: &str, similar: &[String]) -> Failure {
    let failure = Failure::new(match kind {
        "instance" => format!("Instance {name} does not exist."),
        "compute node" => format!("Computer {name} does not exist."),
        "product" => format!(
            "No Software Release corresponding to the Software Product `{name}` has been found"
        ),
        _ => format!("`{name}` is neither a URL, nor a file, nor the name of a {kind}"),
    });
    let failure = match similar {
        [] => failure.hint(match kind {
            "instance" => "see yours with `slapos service list`",
            "compute node" => "see the nodes there are with `slapos computer list`",
            "product" => "give the URL of the release instead",
            _ => "a product of the Master is named product.NAME",
        }),
        [only] => failure.hint(format!("did you mean `{only}`?")),
        several => failure.hint(format!("did you mean one of `{}`?", several.join("`, `"))),
    };
    match kind {
        // As upstream's.
        "product" => failure,
        _ => failure.code(Code::Usage),
    }
}

impl From<slap_client::ProfileError> for Failure {
    fn from(error: slap_client::ProfileError) -> Self {
        use slap_client::ProfileError;
        let failure = Failure::new(&error);
        match error {
            ProfileError::Missing { .. } => failure.hint(
                "make one with `slapos login URL`, name another one with --cfg, or try `slapos \
                 standalone` which makes its own",
            ),
            ProfileError::HalfIdentity { .. } => failure.hint("name both or none"),
            ProfileError::NoIdentity { .. } => {
                failure.hint("`slapos login URL` gets a key and a certificate")
            }
            ProfileError::NoMaster { .. } => {
                failure.hint("add a line such as `master_url = https://slap.vifib.com/`")
            }
            _ => failure,
        }
    }
}

impl From<node::Error> for Failure {
    fn from(error: node::Error) -> Self {
        Failure::of(&error).exit_code(error.exit_code())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::of(&error)
    }
}
