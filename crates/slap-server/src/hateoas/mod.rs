//! The hypermedia documents that `service` and `computer` commands read (P 4): what is asked, and
//! what is answered.
//!
//! There is one path with three modes; [`Ask::read`] tells them apart. A client reads the root
//! ([`root`]), searches by its first template (a [`Query`] finds rows: [`search_result`]), and
//! traverses by its second one (a `relative_url` names a document: a [`View`]).

mod ask;
mod document;
mod query;

pub use ask::{Ask, COLUMNS_MAX, LIMIT_DEFAULT, ROWS_MAX, Search};
pub use document::{Field, News, Templates, TreeView, View, root, search_result};
pub use query::{QUERY_BYTES_MAX, Query, Quoted, VALUES_MAX};
