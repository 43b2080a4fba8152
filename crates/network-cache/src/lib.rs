//! The server side of the network cache (N 1.4, 3.1.1): objects by their SHA-512 (`shacache`), and
//! signed entries by key that say what an object is (`shadir`). Both Masters serve it.
//!
//! - `behind` asks another cache for what is not here;
//! - `rules` decide what may be kept, without I/O;
//! - [`Store`] keeps it in two directories, laid out as upstream's proxy does; the only place that
//!   writes there;
//! - [`NetworkCache`] takes requests and gives answers, whose bodies are never in memory as a whole.
//!
//! Who may do what is not known here: the Masters decide that before they ask.

mod answer;
mod behind;
mod body;
mod rules;
mod store;

use std::path::PathBuf;

pub use answer::{Added, NetworkCache, Taken};
pub use rules::{ENTRY_BODY_BYTES_MAX, Entry, Key, Sum};
pub use store::{Found, Store, Upload};

/// Bytes of a mebibyte.
const MIB: u64 = 1 << 20;
/// Larger limits are none, and sums of them stay numbers.
const MIB_MAX: u64 = 1 << 40;
/// Largest object where nothing is said, in MiB.
pub const OBJECT_MIB_MAX: u64 = 10 << 10;
/// All objects together where nothing is said, in MiB.
pub const TOTAL_MIB_MAX: u64 = 100 << 10;

/// What happens when an object comes for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Those that nobody has asked for the longest are forgotten.
    #[default]
    Forget,
    /// It is refused.
    Refuse,
}

impl std::str::FromStr for WhenFull {
    type Err = ();

    /// `forget` or `refuse`.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "forget" => Ok(WhenFull::Forget),
            "refuse" => Ok(WhenFull::Refuse),
            _ => Err(()),
        }
    }
}

/// Where a cache is, and how much it may keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory with the objects.
    pub content: PathBuf,
    /// The directory with the entries.
    pub metadata: PathBuf,
    /// Largest object in bytes.
    pub object_bytes_max: u64,
    /// All objects together, in bytes.
    pub total_bytes_max: u64,
    /// What makes room.
    pub when_full: WhenFull,
    /// Whether entries that nobody signed are taken.
    pub takes_unsigned: bool,
    /// The cache behind this one.
    pub upstream: Upstream,
}

/// The cache behind another one: what is not here is fetched from there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Upstream {
    /// Where its objects are, if it is asked for some.
    pub cache_url: Option<String>,
    /// Where its entries are, if it is asked for some.
    pub dir_url: Option<String>,
}

impl Settings {
    /// Everything by default, in these two directories.
    pub fn new(content: impl Into<PathBuf>, metadata: impl Into<PathBuf>) -> Settings {
        Settings {
            content: content.into(),
            metadata: metadata.into(),
            object_bytes_max: OBJECT_MIB_MAX * MIB,
            total_bytes_max: TOTAL_MIB_MAX * MIB,
            when_full: WhenFull::default(),
            takes_unsigned: false,
            upstream: Upstream::default(),
        }
    }

    /// With these limits, in MiB; `None` leaves one as it is.
    #[must_use]
    pub fn with_limits(mut self, object_mib_max: Option<u64>, total_mib_max: Option<u64>) -> Self {
        if let Some(limit) = object_mib_max {
            self.object_bytes_max = limit.min(MIB_MAX) * MIB;
        }
        if let Some(limit) = total_mib_max {
            self.total_bytes_max = limit.min(MIB_MAX) * MIB;
        }
        self
    }
}

/// Why a cache cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it.
    #[error(
        "the network cache in {directory} belongs to another process; stop that, or name another \
         directory: each Master keeps its own"
    )]
    InUse {
        /// Where.
        directory: PathBuf,
    },
    /// The disk.
    #[error("the network cache in {directory}: {source}")]
    Io {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Why a cache does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A name that no object can have.
    #[error("an object's name is its SHA-512: 128 lower-case hexadecimal digits")]
    NoSum,
    /// A key that cannot be one.
    #[error(
        "a key has 1 to 240 bytes, no slash and no control character, and does not begin with a dot"
    )]
    BadKey,
    /// An entry that cannot be one.
    #[error("this is no entry: {0}")]
    BadEntry(String),
    /// An entry that nobody signed.
    #[error(
        "entries are signed here: name a key with `signature-private-key-file` in [networkcache]"
    )]
    Unsigned,
    /// The content is not what its name says.
    #[error("the SHA-512 of what came is {found}, and not {expected}; nothing was kept")]
    WrongSum {
        /// What was said.
        expected: String,
        /// What it is.
        found: String,
    },
    /// An object larger than allowed.
    #[error("an object may have {bytes_max} bytes here; nothing was kept")]
    TooLarge {
        /// The limit in bytes.
        bytes_max: u64,
    },
    /// There is no room.
    #[error("the network cache is full: {0}; nothing was kept")]
    Full(String),
    /// Too much at once.
    #[error("too many uploads are under way; try again later")]
    Busy,
    /// There is no such object.
    #[error("there is no object {0} here")]
    NoObject(String),
    /// An entry about an object that is not here.
    #[error("there is no object {0} here that this could be about: upload it first")]
    NoContent(String),
    /// Nothing is known under a key.
    #[error("there is no entry under this key")]
    NoEntry,
    /// The body ended early.
    #[error("the upload broke off: {0}; nothing was kept")]
    Broken(String),
    /// The cache behind this one.
    #[error("the network cache behind this one: {0}")]
    Behind(String),
    /// The disk.
    #[error("the network cache's disk failed: {0}")]
    Io(#[from] std::io::Error),
}
