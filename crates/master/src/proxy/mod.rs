//! What `slapos proxy` starts and shows.

mod serve;
mod settings;
mod show;

pub use crate::forward::OtherMaster;
pub use serve::{ServeError, Server, Shutdown, serve};
pub use settings::{Overrides, Settings, SettingsError};
pub use show::{Selection, Table, show};
