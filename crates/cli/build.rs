//! What of the Python SDK goes into the program: its Python files always, its native module when
//! `SLAPOS_PYTHON_MODULE` names one (`make install` builds it first).

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};

/// The Python files of the SDK.
const PYTHON: &str = "../python/python";

fn main() -> io::Result<()> {
    let variable = "SLAPOS_PYTHON_MODULE";
    println!("cargo:rerun-if-env-changed={variable}");
    println!("cargo:rerun-if-changed={PYTHON}");
    println!("cargo:rustc-check-cfg=cfg(embedded_python_module)");
    let mut files = Vec::new();
    collect(Path::new(PYTHON), &mut files)?;
    if let Some(module) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
        let module = fs::canonicalize(&module).map_err(|error| {
            let shown = Path::new(&module).display().to_string();
            io::Error::other(format!("{variable}={shown}: {error}"))
        })?;
        println!("cargo:rerun-if-changed={}", module.display());
        println!("cargo:rustc-cfg=embedded_python_module");
        println!(
            "cargo:rustc-env=SLAPOS_PYTHON_MODULE_FILE={}",
            module.display()
        );
        files.push(module);
    }
    files.sort();
    // A name for what is unpacked, other for other content; no security rests on it.
    let mut hasher = DefaultHasher::new();
    for file in &files {
        hasher.write(file.file_name().unwrap_or_default().as_encoded_bytes());
        hasher.write(&fs::read(file)?);
    }
    println!(
        "cargo:rustc-env=SLAPOS_PYTHON_HASH={:016x}",
        hasher.finish()
    );
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
