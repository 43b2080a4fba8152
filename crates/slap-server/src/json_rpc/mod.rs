//! The JSON calls `slapos.<verb>.v0.<subject>` (P 3): what they are called, what they accept, what
//! they answer, and how they fail.
//!
//! A call is served in four steps: [`Method::named`] by the path's last segment,
//! [`crate::headers::need_json`], [`Method::read`] for the checked [`Input`], and then one of the
//! [`answer`]s or a [`JsonError`], written by [`crate::json::write`] with [`crate::json::Spacing::Wide`].

pub mod answer;
pub mod detail;
mod error;
mod method;
pub mod openapi;
mod schema;

pub use error::{ErrorType, JsonError};
pub use method::Method;
pub use schema::{Input, InputMistake, Kind, Literal, Member, Output, TITLE_CHARS_MAX};
