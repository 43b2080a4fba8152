//! The whole benchmark with our own programs, small and short. No figure is judged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

use std::path::Path;
use std::process::Command;

/// Runs the benchmark, which must succeed and say all this.
fn says(arguments: &[&str], lines: &[&str]) {
    let bench = Path::new(env!("CARGO_BIN_EXE_bench"));
    let slapos = bench.with_file_name("slapos");
    if !slapos.exists() {
        // `cargo test --workspace` builds it; `cargo test -p bench` alone does not.
        eprintln!("SKIPPED: {} is not built", slapos.display());
        return;
    }
    // What the console loads; no program links it.
    testkit::Slapos::new(&slapos).python_module();
    let output = Command::new(bench)
        .args(arguments)
        .output()
        .expect("the benchmark starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    for line in lines {
        assert!(said.contains(line), "no `{line}` in\n{said}");
    }
}

#[test]
fn the_benchmark_works() {
    says(
        &["--quick", "--ours-only", "--only", "master,cli"],
        &[
            "### The Master",
            "| new requests (`requestComputerPartition`, durable), 8 connections | ",
            "| memory, idle after start | ",
            "### The command line",
            "| `slapos service list` | ",
        ],
    );
}

#[test]
fn the_challenge_works_at_a_small_size() {
    says(
        &[
            "scale",
            "--share",
            "0.0005",
            "--connections",
            "16",
            "--steady",
            "1",
        ],
        &[
            "checked: 984 instances acknowledged, each found once",
            "| idle: polls answered 304",
        ],
    );
}
