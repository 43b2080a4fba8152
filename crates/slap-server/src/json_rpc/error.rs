//! How the JSON calls fail (P 3.2, 3.3).

use std::borrow::Cow;

use http::StatusCode;
use serde_json::{Value, json};

use super::InputMistake;
use crate::{Problem, reason};

/// An error document: what failed, of which kind, in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// The status of the reply.
    pub status: StatusCode,
    /// The kind, for programs: one of [`ErrorType`] with the full Master, the status' reason phrase
    /// with the proxy.
    pub kind: Cow<'static, str>,
    /// One sentence for people.
    pub title: String,
}

macro_rules! error_types {
    ($($(#[$meta:meta])* $variant:ident $status:ident $text:literal;)*) => {
        /// The kinds of errors of the full Master (P 3.3).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorType {
            $($(#[$meta])* $variant,)*
        }

        impl ErrorType {
            /// All of them.
            pub const ALL: &'static [ErrorType] = &[$(ErrorType::$variant),*];

            /// The wire's word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(ErrorType::$variant => $text,)*
                }
            }

            /// The status that goes with it.
            pub fn status(self) -> StatusCode {
                match self {
                    $(ErrorType::$variant => StatusCode::$status,)*
                }
            }
        }
    };
}

error_types! {
    /// No such instance.
    InstanceNotFound FORBIDDEN "SOFTWARE-INSTANCE-NOT-FOUND";
    /// No such software installation.
    InstallationNotFound FORBIDDEN "SOFTWARE-INSTALLATION-NOT-FOUND";
    /// No such compute node.
    NodeNotFound FORBIDDEN "COMPUTE-NODE-NOT-FOUND";
    /// No such node of any kind.
    ObjectNodeNotFound FORBIDDEN "OBJECT-NODE-NOT-FOUND";
    /// No such instance that could serve shared ones.
    HostInstanceNotFound FORBIDDEN "HOST-INSTANCE-NOT-FOUND";
    /// No such instance tree.
    TreeNotFound FORBIDDEN "INSTANCE-TREE-NOT-FOUND";
    /// This Master has no hypermedia documents.
    HateoasUrlNotFound FORBIDDEN "HATEOAS-URL-NOT-FOUND";
    /// The release cannot be asked for on that node.
    SupplyFailed FORBIDDEN "SUPPLY-FAILED";
    /// The reported state of an installation makes no sense.
    InstallationWrongReportedState FORBIDDEN "SOFTWARE-INSTALLATION-WRONG-REPORTED-STATE";
    /// The destruction of an installation was reported that nobody asked for.
    InstallationDestroyNotRequested FORBIDDEN "SOFTWARE-INSTALLATION-DESTROY-NOT-REQUESTED";
    /// The reported state of an instance makes no sense, or its destruction was not asked for.
    InstanceWrongReportedState FORBIDDEN "SOFTWARE-INSTANCE-WRONG-REPORTED-STATE";
    /// The consumption report is no TioXML.
    InvalidTioxml BAD_REQUEST "INVALIDATE_TIOXML";
    /// The body is no JSON.
    NotParsable BAD_REQUEST "not-parsable-json-content";
    /// The body is no JSON object.
    NotAnObject BAD_REQUEST "not-json-object-content";
    /// The body does not fit the call's schema.
    InvalidInput BAD_REQUEST "invalid-json-object-content";
    /// Not a POST.
    MethodNotAllowed METHOD_NOT_ALLOWED "not-allowed-http-method";
    /// The body is said to be something else.
    UnexpectedMediaType UNSUPPORTED_MEDIA_TYPE "unexpected-media-type";
    /// No such call.
    NotFound NOT_FOUND "not-found";
    /// This Master failed.
    Unknown INTERNAL_SERVER_ERROR "unknown-error";
}

impl JsonError {
    /// An error of the full Master.
    pub fn new(kind: ErrorType, title: impl Into<String>) -> Self {
        JsonError {
            status: kind.status(),
            kind: Cow::Borrowed(kind.as_str()),
            title: title.into(),
        }
    }

    /// A call that is no POST.
    pub fn method_not_allowed() -> Self {
        Self::new(ErrorType::MethodNotAllowed, "Only HTTP POST accepted")
    }

    /// A body of another type than JSON.
    pub fn unexpected_media_type(received: &str) -> Self {
        Self::new(
            ErrorType::UnexpectedMediaType,
            format!("The request Content-Type must be application/json, not {received:.200}"),
        )
    }

    /// A call nobody knows.
    pub fn no_such_method(name: &str) -> Self {
        Self::new(ErrorType::NotFound, format!("No such call: {name:.200}"))
    }

    /// The document. An unknown call's has no status in it, as upstream's has none.
    pub fn to_json(&self) -> Value {
        if self.kind == ErrorType::NotFound.as_str() {
            return json!({"type": self.kind, "title": self.title});
        }
        json!({
            "status": self.status.as_u16(),
            "type": self.kind,
            "title": self.title,
        })
    }
}

/// The proxy's form: the kind is the status' reason phrase.
impl From<Problem> for JsonError {
    fn from(problem: Problem) -> Self {
        JsonError {
            status: problem.status,
            kind: Cow::Borrowed(reason(problem.status)),
            title: problem.text,
        }
    }
}

/// The full Master's form.
impl From<InputMistake> for JsonError {
    fn from(mistake: InputMistake) -> Self {
        let kind = match mistake {
            InputMistake::NotJson(_) => ErrorType::NotParsable,
            InputMistake::NotAnObject(_) => ErrorType::NotAnObject,
            InputMistake::Invalid(_) => ErrorType::InvalidInput,
        };
        Self::new(kind, mistake.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        for (error, document) in [
            (
                JsonError::from(Problem::forbidden("instance_guid nope not handled.")),
                json!({"status": 403, "type": "Forbidden", "title": "instance_guid nope not handled."}),
            ),
            (
                JsonError::new(ErrorType::NodeNotFound, "No node COMP-7"),
                json!({"status": 403, "type": "COMPUTE-NODE-NOT-FOUND", "title": "No node COMP-7"}),
            ),
            (
                JsonError::from(InputMistake::Invalid(
                    "'a' is a required property".to_owned(),
                )),
                json!({"status": 400, "type": "invalid-json-object-content",
                       "title": "'a' is a required property"}),
            ),
            (
                JsonError::method_not_allowed(),
                json!({"status": 405, "type": "not-allowed-http-method",
                       "title": "Only HTTP POST accepted"}),
            ),
            (
                JsonError::no_such_method("slapos.x"),
                json!({"type": "not-found", "title": "No such call: slapos.x"}),
            ),
        ] {
            assert_eq!(error.to_json(), document);
        }
    }

    #[test]
    fn no_two_kinds_share_a_word() {
        let mut words: Vec<_> = ErrorType::ALL.iter().map(|kind| kind.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ErrorType::ALL.len());
    }
}
