//! The native half of the Python SDK: `slapos.slap._native`.
//!
//! It does the talking, and nothing else: `slap-client` with Python's values on one side. What
//! people see of the SDK is Python (`python/slapos/slap`), because classes, their representation and
//! their documentation are clearer there.
//!
//! - [`connection`] is a Master, usable from any thread, and what wakes who waits for it;
//! - [`values`] turns the wire's values into Python's and back;
//! - [`errors`] gives each failure the exception upstream's programs catch;
//! - [`calls`] runs a call without the interpreter's lock, and lets Ctrl-C through.

mod calls;
mod connection;
mod errors;
mod values;

/// What Python imports.
#[pyo3::pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    use crate::connection::{Connection, Waiting};
    #[pymodule_export]
    use crate::values::{dumps, loads};
}
