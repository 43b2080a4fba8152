//! Who takes part.

/// Login, whether administrator, and the role in each project: project number and whether manager.
type Person = (&'static str, bool, &'static [(i64, bool)]);

/// All who ask.
pub const PEOPLE: [Person; 7] = [
    ("root", true, &[]),
    ("boss", false, &[(1, true)]),
    ("alice", false, &[(1, false)]),
    ("bob", false, &[(1, false)]),
    ("chief", false, &[(2, true)]),
    ("carol", false, &[(1, false), (2, false)]),
    ("stranger", false, &[]),
];
/// The administrator.
pub const ROOT: usize = 0;
/// Manager of the first project.
pub const BOSS: usize = 1;
/// Manager of the second project.
pub const CHIEF: usize = 4;

/// Projects are counted from 1.
pub const PROJECTS: i64 = 2;
/// Networks of each project.
pub const NETWORKS: [(i64, i64); 3] = [(1, 1), (2, 1), (3, 2)];

pub const RELEASES: [&str; 3] = [
    "https://example.org/r0.cfg",
    "https://example.org/r1.cfg",
    "https://example.org/r2.cfg",
];
