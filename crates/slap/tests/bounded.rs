//! What a document from a stranger may cost.

#![allow(clippy::unwrap_used)]

use slap::marshal;

/// The most memory this process ever had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kibibytes: usize = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kibibytes << 10
}

/// Alone in its file: other tests in the same process would be measured as well.
#[test]
fn nested_identities_are_not_copied_once_for_each_level() {
    // 90 levels around 700 kB, with or without somebody who refers to all of them.
    let nested = format!(
        "{}{}{}",
        (0..90)
            .map(|level| format!("<list id=\"i{level}\">"))
            .collect::<String>(),
        "<none/>".repeat(100_000),
        "</list>".repeat(90),
    );
    let one = format!("<marshal><list>{nested}<reference id=\"i0\"/></list></marshal>");
    assert!(marshal::decode(one.as_bytes()).is_ok());
    let references: String = (0..90)
        .map(|level| format!("<reference id=\"i{level}\"/>"))
        .collect();
    let all = format!("<marshal><list>{nested}{references}</list></marshal>");
    assert!(marshal::decode(all.as_bytes()).is_err());
    let peak = peak();
    assert!(peak < 200 << 20, "{peak} bytes");
}
