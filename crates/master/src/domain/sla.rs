//! Where an instance may be placed: the SLA keys of a request, typed (P 6.9).
//!
//! A key nobody knows, or a value that can match nothing, does not make the request fail: the
//! instance is created and waits, as with upstream's Master. [`SlaMistake`] is what such an
//! instance tells to whoever asks why it waits. Empty values count as absent.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::words::{
    InstanceKey, NetworkKey, NodeReference, ProjectKey, ReferenceMistake, UnknownWord,
};

/// Every key an SLA may have, sorted. Told to whoever used another.
pub const KNOWN_KEYS: [&str; 22] = [
    "capability",
    "computer_guid",
    "cpu_core",
    "cpu_frequency",
    "cpu_type",
    "fw_authorized_sources",
    "fw_rejected_sources",
    "fw_restricted_access",
    "group",
    "instance_guid",
    "local_area_network_type",
    "master_url",
    "memory_size",
    "memory_type",
    "mode",
    "network_guid",
    "project_guid",
    "region",
    "retention_delay",
    "storage_capacity",
    "storage_interface",
    "storage_redundancy",
];

/// Mistakes named one by one; of the others only the number is told.
const MISTAKES_NAMED: usize = 3;

/// Longest category path, in bytes.
pub const PATH_BYTES_MAX: usize = 400;

/// What a node is described by. Each has at most one path, such as `europe/france/lille`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// A free grouping chosen by the nodes' owner.
    Group,
    /// Number of processor cores.
    CpuCore,
    /// Speed of the processor.
    CpuFrequency,
    /// Kind of processor.
    CpuType,
    /// Kind of local network.
    LocalAreaNetworkType,
    /// Where the node stands.
    Region,
    /// How much memory.
    MemorySize,
    /// Which kind of memory.
    MemoryType,
    /// How much storage.
    StorageCapacity,
    /// How the storage is attached.
    StorageInterface,
    /// How the storage is protected.
    StorageRedundancy,
}

impl Category {
    /// Every category.
    pub const ALL: [Category; 11] = [
        Category::Group,
        Category::CpuCore,
        Category::CpuFrequency,
        Category::CpuType,
        Category::LocalAreaNetworkType,
        Category::Region,
        Category::MemorySize,
        Category::MemoryType,
        Category::StorageCapacity,
        Category::StorageInterface,
        Category::StorageRedundancy,
    ];

    /// The SLA key, which is also the word it is stored under.
    pub fn as_str(self) -> &'static str {
        match self {
            Category::Group => "group",
            Category::CpuCore => "cpu_core",
            Category::CpuFrequency => "cpu_frequency",
            Category::CpuType => "cpu_type",
            Category::LocalAreaNetworkType => "local_area_network_type",
            Category::Region => "region",
            Category::MemorySize => "memory_size",
            Category::MemoryType => "memory_type",
            Category::StorageCapacity => "storage_capacity",
            Category::StorageInterface => "storage_interface",
            Category::StorageRedundancy => "storage_redundancy",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Category {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Category::ALL
            .into_iter()
            .find(|category| category.as_str() == text)
            .ok_or_else(|| UnknownWord::new(text, "a category of nodes, such as `region`"))
    }
}

/// A text that is no category path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a category path; it is written like `europe/france`: words separated by \
     single slashes, at most {PATH_BYTES_MAX} bytes"
)]
pub struct BadPath {
    /// What was given, cut to a printable length.
    pub given: String,
}

/// Checks that a text can be the path of a node in a category.
///
/// # Errors
/// [`BadPath`] when it is empty, too long, holds control characters or an empty word.
pub fn check_path(path: &str) -> Result<(), BadPath> {
    let good = path.len() <= PATH_BYTES_MAX
        && path.split('/').all(|word| !word.is_empty())
        && !path.chars().any(char::is_control);
    if good {
        Ok(())
    } else {
        Err(BadPath { given: cut(path) })
    }
}

/// Whether a node at `path` is in the category that was asked for: `asked` is its path or an
/// ancestor of it, words being compared whole. `europe` takes `europe/france` but not `europe2`.
pub fn path_matches(asked: &str, path: &str) -> bool {
    match path.strip_prefix(asked) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// Where an instance may be placed, and what its node is to know about it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sla {
    /// `computer_guid`: on this node only.
    pub node: Option<NodeReference>,
    /// `instance_guid`: a shared instance is to be served by this instance.
    pub host: Option<InstanceKey>,
    /// `network_guid`: on a node of this network.
    pub network: Option<NetworkKey>,
    /// `project_guid`: in this project.
    pub project: Option<ProjectKey>,
    /// `mode=unique_by_network`: no other instance of the tree is on the node's network.
    pub unique_by_network: bool,
    /// The paths the node must be at or below.
    pub categories: BTreeMap<Category, String>,
    /// `capability`: on a partition that has it.
    pub capability: Option<String>,
    /// `retention_delay`: days that the node keeps the data after destruction. Finite, not
    /// negative.
    pub retention_days: Option<f64>,
    /// The `fw_…` keys, for the node's firewall.
    pub firewall: BTreeMap<String, String>,
    /// `master_url`: the request is for another Master (P 6.15).
    pub master_url: Option<String>,
}

impl Sla {
    /// Reads the SLA of a request.
    ///
    /// With `master_url` the rest is for another Master, which judges it: nothing but the URL is
    /// read. A caller that finds its own URL there takes the key out and reads again.
    ///
    /// # Errors
    /// [`SlaMistake`] when no node can ever match. The request is accepted all the same.
    pub fn parse(keys: &BTreeMap<String, String>) -> Result<Sla, SlaMistake> {
        let mut sla = Sla::default();
        if let Some(url) = keys.get("master_url").filter(|url| !url.is_empty()) {
            sla.master_url = Some(url.clone());
            return Ok(sla);
        }
        let mut faults = keys
            .iter()
            .filter_map(|(key, value)| sla.read(key, value).err());
        let named: Vec<SlaFault> = faults.by_ref().take(MISTAKES_NAMED).collect();
        let more = faults.count();
        if named.is_empty() {
            Ok(sla)
        } else {
            Err(SlaMistake {
                faults: named,
                more,
            })
        }
    }

    fn read(&mut self, key: &str, value: &str) -> Result<(), SlaFault> {
        if value.is_empty() && KNOWN_KEYS.contains(&key) {
            return Ok(());
        }
        match key {
            "computer_guid" => self.node = Some(reference("computer_guid", value)?),
            "instance_guid" => self.host = Some(reference("instance_guid", value)?),
            "network_guid" => self.network = Some(reference("network_guid", value)?),
            "project_guid" => self.project = Some(reference("project_guid", value)?),
            "mode" if value == "unique_by_network" => self.unique_by_network = true,
            "mode" => return Err(SlaFault::Mode { given: cut(value) }),
            "capability" => self.capability = Some(value.to_owned()),
            "retention_delay" => {
                let days = value.trim().parse().ok();
                let days = days.filter(|days: &f64| days.is_finite() && *days >= 0.0);
                self.retention_days =
                    Some(days.ok_or_else(|| SlaFault::RetentionDelay { given: cut(value) })?);
            }
            "fw_restricted_access" | "fw_rejected_sources" | "fw_authorized_sources" => {
                self.firewall.insert(key.to_owned(), value.to_owned());
            }
            _ => match key.parse::<Category>() {
                Ok(category) => {
                    check_path(value).map_err(|error| SlaFault::Path { category, error })?;
                    self.categories.insert(category, value.to_owned());
                }
                Err(_) => {
                    return Err(SlaFault::UnknownKey { key: cut(key) });
                }
            },
        }
        Ok(())
    }
}

/// Adds what the Master itself puts into an SLA: an instance of type `pull-backup` keeps its data
/// for seven days unless its requester says otherwise (P 6.4).
pub fn add_defaults(software_type: &str, keys: &mut BTreeMap<String, String>) {
    if software_type == "pull-backup" {
        keys.entry("retention_delay".to_owned())
            .or_insert_with(|| "7.0".to_owned());
    }
}

fn reference<T: FromStr<Err = ReferenceMistake>>(
    key: &'static str,
    value: &str,
) -> Result<T, SlaFault> {
    value
        .parse()
        .map_err(|error| SlaFault::Reference { key, error })
}

/// One reason why an SLA can match nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlaFault {
    /// A key that is not in [`KNOWN_KEYS`].
    #[error("{key:?} is not a known SLA key{}", did_you_mean(key))]
    UnknownKey {
        /// The key, cut to a printable length. See [`nearest_key`].
        key: String,
    },
    /// A `mode` other than `unique_by_network`.
    #[error("mode={given:?} is not known; the only mode is `unique_by_network`")]
    Mode {
        /// What was given, cut to a printable length.
        given: String,
    },
    /// A value that cannot be a reference.
    #[error("{key}: {error}")]
    Reference {
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        error: ReferenceMistake,
    },
    /// A value that cannot be a category path.
    #[error("{category}: {error}")]
    Path {
        /// Which category.
        category: Category,
        /// What is wrong with it.
        error: BadPath,
    },
    /// A `retention_delay` that is no number of days.
    #[error("retention_delay={given:?} is not a number of days, such as `7.0`")]
    RetentionDelay {
        /// What was given, cut to a printable length.
        given: String,
    },
}

fn did_you_mean(key: &str) -> String {
    match nearest_key(key) {
        Some(key) => format!(" (did you mean `{key}`?)"),
        None => String::new(),
    }
}

/// Why an instance will wait until it is requested with another SLA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlaMistake {
    /// The first things that are wrong, in the order of the keys: one to three.
    pub faults: Vec<SlaFault>,
    /// How many more there are.
    pub more: usize,
}

impl std::error::Error for SlaMistake {}

impl fmt::Display for SlaMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its SLA can match no node: ")?;
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{fault}")?;
        }
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        let unknown = |fault: &SlaFault| matches!(fault, SlaFault::UnknownKey { .. });
        if self.faults.iter().any(unknown) {
            write!(f, ". Known keys: {}", KNOWN_KEYS.join(", "))?;
        }
        f.write_str(". Request it again with another SLA")
    }
}

/// What of a user's text is repeated in a message.
pub(crate) fn cut(text: &str) -> String {
    const CHARS: usize = 80;
    let mut shown: String = text.chars().take(CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// The known key that a mistyped one was meant to be, if any is near enough.
pub fn nearest_key(key: &str) -> Option<&'static str> {
    const CHARS: usize = 40;
    let typed: Vec<char> = key
        .chars()
        .take(CHARS)
        .flat_map(char::to_lowercase)
        .map(|c| if c == '-' || c == ' ' { '_' } else { c })
        .collect();
    KNOWN_KEYS
        .into_iter()
        .map(|known| (distance(&typed, known), known))
        .filter(|(distance, known)| distance * 3 <= known.len())
        .min()
        .map(|(_, known)| known)
}

/// How many single-character changes lead from one word to the other, two neighbours in the wrong
/// order being one change.
fn distance(typed: &[char], known: &str) -> usize {
    let known: Vec<char> = known.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=known.len()).collect();
    for (i, a) in typed.iter().enumerate() {
        let mut row = Vec::with_capacity(above.len());
        row.push(i + 1);
        for (j, b) in known.iter().enumerate() {
            let mut best = (above[j] + usize::from(a != b))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *a == known[j - 1] && typed[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[known.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::words::{NodeKey, NodeKind};
    use proptest::prelude::*;

    fn keys(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn parse(key: &str, value: &str) -> Result<Sla, SlaMistake> {
        Sla::parse(&keys(&[(key, value)]))
    }

    #[test]
    fn every_known_key_is_read_into_its_place() {
        let table: Vec<(&str, &str, Sla)> = vec![
            (
                "computer_guid",
                "COMP-7",
                Sla {
                    node: Some(NodeKey(7).reference(NodeKind::Compute)),
                    ..Sla::default()
                },
            ),
            (
                "computer_guid",
                "REMOTE-7",
                Sla {
                    node: Some(NodeKey(7).reference(NodeKind::Remote)),
                    ..Sla::default()
                },
            ),
            (
                "instance_guid",
                "SOFTINST-3",
                Sla {
                    host: Some(InstanceKey(3)),
                    ..Sla::default()
                },
            ),
            (
                "network_guid",
                "NET-2",
                Sla {
                    network: Some(NetworkKey(2)),
                    ..Sla::default()
                },
            ),
            (
                "project_guid",
                "PROJ-1",
                Sla {
                    project: Some(ProjectKey(1)),
                    ..Sla::default()
                },
            ),
            (
                "mode",
                "unique_by_network",
                Sla {
                    unique_by_network: true,
                    ..Sla::default()
                },
            ),
            (
                "capability",
                "tap",
                Sla {
                    capability: Some("tap".to_owned()),
                    ..Sla::default()
                },
            ),
            (
                "retention_delay",
                " 7.5 ",
                Sla {
                    retention_days: Some(7.5),
                    ..Sla::default()
                },
            ),
            (
                "master_url",
                "https://other/",
                Sla {
                    master_url: Some("https://other/".to_owned()),
                    ..Sla::default()
                },
            ),
        ];
        let mut seen: Vec<&str> = table.iter().map(|(key, _, _)| *key).collect();
        for (key, value, expected) in table {
            assert_eq!(parse(key, value).unwrap(), expected, "{key}");
        }
        for category in Category::ALL {
            let sla = parse(category.as_str(), "a/b").unwrap();
            assert_eq!(
                sla.categories,
                BTreeMap::from([(category, "a/b".to_owned())])
            );
            seen.push(category.as_str());
        }
        for key in [
            "fw_restricted_access",
            "fw_rejected_sources",
            "fw_authorized_sources",
        ] {
            assert_eq!(parse(key, "on").unwrap().firewall, keys(&[(key, "on")]));
            seen.push(key);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, KNOWN_KEYS, "the list told to users is the list read");
    }

    #[test]
    fn an_empty_value_is_an_absent_one() {
        for key in KNOWN_KEYS {
            assert_eq!(parse(key, "").unwrap(), Sla::default(), "{key}");
        }
        assert!(parse("nonsense", "").is_err());
    }

    #[test]
    fn values_that_match_nothing_are_mistakes() {
        for (key, value) in [
            ("computer_guid", "local_computer"),
            ("computer_guid", "SHARED-1"),
            ("instance_guid", "COMP-1"),
            ("network_guid", "1"),
            ("project_guid", "PROJ-01"),
            ("mode", "unique"),
            ("retention_delay", "-1"),
            ("retention_delay", "nan"),
            ("retention_delay", "inf"),
            ("retention_delay", "a week"),
            ("region", "/europe"),
            ("region", "europe/"),
            ("region", "europe//france"),
            ("region", "a\nb"),
        ] {
            let mistake = parse(key, value).unwrap_err();
            assert!(mistake.to_string().contains(key), "{mistake}");
        }
        assert!(parse("retention_delay", "0").is_ok());
        assert!(parse("region", &"a".repeat(PATH_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn an_unknown_key_is_named_with_the_key_that_was_meant() {
        for (typed, meant) in [
            ("regoin", Some("region")),
            ("computer-guid", Some("computer_guid")),
            ("Computer_GUID", Some("computer_guid")),
            ("computer_id", Some("computer_guid")),
            ("capabilty", Some("capability")),
            ("fw_restricted_acces", Some("fw_restricted_access")),
            ("modes", Some("mode")),
            ("xyzzy", None),
            ("", None),
        ] {
            let mistake = parse(typed, "x").unwrap_err();
            assert_eq!(
                mistake.faults,
                vec![SlaFault::UnknownKey {
                    key: typed.to_owned()
                }]
            );
            assert_eq!(nearest_key(typed), meant, "{typed}");
        }
        assert_eq!(
            parse("regoin", "x").unwrap_err().to_string(),
            "its SLA can match no node: \"regoin\" is not a known SLA key (did you mean \
             `region`?). Known keys: capability, computer_guid, cpu_core, cpu_frequency, cpu_type, \
             fw_authorized_sources, fw_rejected_sources, fw_restricted_access, group, \
             instance_guid, local_area_network_type, master_url, memory_size, memory_type, mode, \
             network_guid, project_guid, region, retention_delay, storage_capacity, \
             storage_interface, storage_redundancy. Request it again with another SLA"
        );
    }

    #[test]
    fn another_masters_sla_is_not_judged_here() {
        let sla = Sla::parse(&keys(&[
            ("master_url", "https://other/"),
            ("its_own_key", "x"),
            ("computer_guid", "local_computer"),
        ]))
        .unwrap();
        assert_eq!(sla.master_url.as_deref(), Some("https://other/"));
        assert!(
            Sla::parse(&keys(&[("master_url", ""), ("its_own_key", "x")])).is_err(),
            "an empty URL is none"
        );
    }

    #[test]
    fn the_message_is_bounded_however_much_is_wrong() {
        let many = (0..5000)
            .map(|n| (format!("{n}{}", "\u{1}".repeat(900)), String::new()))
            .collect();
        let mistake = Sla::parse(&many).unwrap_err();
        assert_eq!((mistake.faults.len(), mistake.more), (3, 4997));
        let text = mistake.to_string();
        assert!(text.len() < 2500, "{} bytes", text.len());
        assert!(text.contains("and 4997 more"), "{text}");
    }

    #[test]
    fn paths_match_at_word_boundaries() {
        for (asked, path, matches) in [
            ("europe", "europe", true),
            ("europe", "europe/france", true),
            ("europe", "europe/france/lille", true),
            ("europe/france", "europe/france", true),
            ("europe/france", "europe", false),
            ("europe", "europe2", false),
            ("europe", "europe2/france", false),
            ("france", "europe/france", false),
            ("europe/fr", "europe/france", false),
        ] {
            assert_eq!(path_matches(asked, path), matches, "{asked} {path}");
        }
    }

    #[test]
    fn a_pull_backup_keeps_its_data_for_a_week() {
        let mut none = BTreeMap::new();
        add_defaults("default", &mut none);
        assert!(none.is_empty());
        add_defaults("pull-backup", &mut none);
        assert_eq!(none, keys(&[("retention_delay", "7.0")]));
        let mut own = keys(&[("retention_delay", "1")]);
        add_defaults("pull-backup", &mut own);
        assert_eq!(own, keys(&[("retention_delay", "1")]));
    }

    proptest! {
        #[test]
        fn paths_are_compared_word_by_word(
            asked in prop::collection::vec("[ab]{1,2}", 1..4),
            path in prop::collection::vec("[ab]{1,2}", 1..4),
        ) {
            prop_assert_eq!(
                path_matches(&asked.join("/"), &path.join("/")),
                path.starts_with(&asked)
            );
        }

        #[test]
        fn any_sla_is_read_or_explained(
            keys in prop::collection::btree_map("\\PC{0,60}", "\\PC{0,60}", 0..6),
        ) {
            if let Err(mistake) = Sla::parse(&keys) {
                prop_assert!(mistake.to_string().chars().count() < 2500);
            }
        }
    }
}
