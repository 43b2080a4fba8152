//! The Master's rules, without I/O: everything here is a function of its arguments.

pub mod access;
pub mod allocation;
pub mod capacity;
pub mod identity;
mod refusal;
pub mod report;
pub mod request;
pub mod sla;
mod time;
pub mod tree;
pub mod upgrade;
pub mod usage;
pub mod waiting;
pub mod words;

pub use access::{Action, Caller, Facts};
pub use identity::{CertificateOwner, LOGIN_MAX, Login, LoginMistake, TokenPurpose};
pub use refusal::Refusal;
pub use sla::{Category, Sla, SlaFault, SlaMistake};
pub use time::{Clock, SystemClock, Timestamp};
pub use words::*;
