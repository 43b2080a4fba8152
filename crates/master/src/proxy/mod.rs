//! What `slapos proxy` starts and shows.

mod serve;
mod settings;

pub use serve::{ServeError, Server, Shutdown, serve};
pub use settings::{Masters, OtherMaster, Overrides, Settings, SettingsError};
