//! The other end of `slap-client`: reads the wire's calls, writes the wire's documents and errors.
//!
//! Both Masters, `proxy` and `master`, are written on top of it, so that what is on the wire is
//! described once. There is no I/O here and no opinion about who may do what: bytes and texts come
//! in, typed calls go out; typed answers come in, bytes go out. Every reader is bounded and says
//! what is wrong as a [`Problem`].
//!
//! - [`Fields`] are the fields of a form or a query string; [`forms`] are the calls made of them
//!   (P 1.3, 1.4.1);
//! - [`description`] is what a node tells about itself (P 6.11);
//! - [`hateoas`] are the hypermedia documents: queries, templates, views (P 4);
//! - [`headers`] is what the headers of a request tell: which partition calls, under which URL;
//! - [`json_rpc`] are the JSON calls, as data: names, schemas, answers, errors (P 3); [`json`]
//!   writes JSON as Python does;
//! - [`parameters`] says what of a request's parameters can be kept and sent back;
//! - [`promises`] is how the promises of an instance are, and what of that is news;
//! - [`status`] is what nodes report, and what is told about it (P 1.6);
//! - [`Problem`] is what cannot be answered, as a status and a text.

pub mod description;
mod fields;
pub mod forms;
pub mod hateoas;
pub mod headers;
pub mod json;
pub mod json_rpc;
pub mod parameters;
mod problem;
pub mod promises;
pub mod status;

pub use description::NodeDescription;
pub use fields::{FIELDS_MAX, Fields, given};
pub use forms::RequestForm;
pub use problem::{PAGE_TYPE, Problem, escape, reason};
