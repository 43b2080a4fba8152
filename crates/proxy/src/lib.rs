//! The Master for one machine, as upstream's `slapos proxy start` is: one node by default, no
//! accounts, everybody on loopback trusted, upstream's documents byte for byte.
//!
//! - [`domain`] decides, without I/O;
//! - [`store`] keeps, durably; the only place that speaks SQL;
//! - `api` parses, asks and answers: the legacy SLAP calls, their JSON form, and the HATEOAS
//!   documents;
//! - [`Settings`], [`serve`] and [`show`] are what the command line starts and shows.

mod api;
pub mod domain;
mod forward;
mod serve;
mod settings;
mod show;
pub mod store;

pub use forward::OtherMaster;
pub use serve::{ServeError, Server, Shutdown, serve};
pub use settings::{Overrides, Settings, SettingsError};
pub use show::{Selection, Table, show};
