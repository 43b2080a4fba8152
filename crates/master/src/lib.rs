//! The SlapOS Master: rules, store and HTTP interfaces.
//!
//! What is here serves one machine, as upstream's `slapos proxy start` does; it is the special case
//! of the full Master: one node by default, everybody on loopback trusted.
//!
//! - [`domain`] decides, without I/O;
//! - [`store`] keeps, durably; the only place that speaks SQL;
//! - `api` parses, asks and answers: the legacy SLAP calls, their JSON form, and the HATEOAS
//!   documents;
//! - [`proxy`] is what the command line starts and shows.

mod api;
pub mod domain;
mod forward;
pub mod proxy;
pub mod store;
