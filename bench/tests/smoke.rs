//! The whole benchmark with our own programs, small and short. No figure is judged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_benchmark_works() {
    let bench = Path::new(env!("CARGO_BIN_EXE_bench"));
    let slapos = bench.with_file_name("slapos");
    if !slapos.exists() {
        // `cargo test --workspace` builds it; `cargo test -p bench` alone does not.
        eprintln!("SKIPPED: {} is not built", slapos.display());
        return;
    }
    let output = Command::new(bench)
        .args(["--quick", "--ours-only", "--only", "master,cli"])
        .output()
        .expect("the benchmark starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    for line in [
        "### The Master",
        "| new requests (`requestComputerPartition`, durable), 8 connections | ",
        "| memory, idle after start | ",
        "### The command line",
        "| `slapos service list` | ",
    ] {
        assert!(said.contains(line), "no `{line}` in\n{said}");
    }
}
