//! Forms made from the JSON schema of a software release's parameters. No I/O, and no script: what
//! a person typed is one flat list of fields, [`Values`], that goes to the browser and back.
//!
//! - [`Model`] is what a schema looks like to people: a tree of bounded size and depth;
//! - [`Model::fill`] writes parameters into fields, [`Model::read`] makes parameters of fields.
//!   Together they lose nothing: what no field can hold is edited as JSON, just that part;
//! - [`show`] is the form itself;
//! - [`differences`] tells two sets of parameters apart, [`parts`] tells what is in one;
//! - [`explain`] says what parameters there are, for reading.
//!
//! What a form has is not checked here beyond its types: the release's whole schema does that, and
//! [`Reading::blame`] finds the field of each mistake.

mod difference;
mod explain;
mod fill;
mod model;
mod read;
mod show;
#[cfg(test)]
mod tests;
mod values;

pub(super) use difference::{Change, differences, parts};
pub(super) use explain::explain;
pub(super) use model::Model;
pub(super) use read::Reading;
pub(super) use show::{Look, show};
pub(super) use values::Values;
