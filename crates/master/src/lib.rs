//! The SlapOS Master: many users, many nodes, its own certificates, immediate allocation.
//!
//! - [`admin`] is what its administrator can do, running or not;
//! - `api` is what can be called;
//! - `catalogue` reads what releases say of themselves;
//! - [`auth`] knows who calls, and makes known who was not;
//! - [`domain`] decides, without I/O;
//! - [`store`] keeps, durably; the only place that speaks SQL;
//! - [`events`] wakes who waits for a change;
//! - [`pki`] is the Master's certificate authority and seals its secrets;
//! - `web` is the dashboard, as people see it;
//! - [`server`] has the sockets.

pub mod admin;
pub mod api;
pub mod auth;
mod catalogue;
pub mod domain;
pub mod events;
mod files;
mod first_start;
mod identity;
pub mod pki;
pub mod remote;
mod serve;
pub mod server;
mod settings;
pub mod store;
#[allow(dead_code)] // some parts wait for their pages
mod web;

pub use catalogue::CatalogueSettings;
pub use files::FilesError;
pub use first_start::{FirstStartError, Welcome};
pub use identity::ServerIdentityError;
pub use serve::{ServeError, Server, Shutdown, Started, serve};
pub use settings::{CacheSettings, Given, Listen, PORT, Settings, SettingsError};
