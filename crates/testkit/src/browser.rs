//! Debian's Chromium and what drives it, from npm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A real browser, and the Node.js modules that people's walks through the dashboard need.
#[derive(Debug, Clone)]
pub struct Browser {
    /// The browser's program.
    pub chromium: PathBuf,
    /// Node.js.
    pub node: PathBuf,
    /// What belongs into `NODE_PATH`.
    pub modules: PathBuf,
}

impl Browser {
    /// Installs the modules of `tests/browser/package-lock.json` below `target`, once. `None` where
    /// there is no browser (`tools/setup test` installs one), and where npm cannot be reached and
    /// the tests shall do without the network (`SLAPOS_TEST_OFFLINE=1`).
    pub fn get(target: &Path) -> Option<Browser> {
        let [chromium, node, npm] = ["chromium", "node", "npm"].map(find);
        let (Some(chromium), Some(node), Some(npm)) = (chromium, node, npm) else {
            eprintln!("SKIPPED: needs chromium, nodejs and npm: run `tools/setup test`");
            return None;
        };
        match install(&npm, target) {
            Ok(modules) => Some(Browser {
                chromium,
                node,
                modules,
            }),
            Err(reason) if std::env::var("SLAPOS_TEST_OFFLINE").as_deref() == Ok("1") => {
                eprintln!("SKIPPED: modules from npm cannot be installed: {reason}");
                None
            }
            Err(reason) => panic!(
                "modules from npm cannot be installed (SLAPOS_TEST_OFFLINE=1 skips this): {reason}"
            ),
        }
    }
}

/// A program that people would find.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

fn install(npm: &Path, target: &Path) -> Result<PathBuf, String> {
    const LOCK: &str = "package-lock.json";
    let source = crate::project().join("tests/browser");
    let place = target.join("browser");
    let same = |file: &str| fs::read(source.join(file)).ok() == fs::read(place.join(file)).ok();
    if !same(LOCK) {
        let partial = target.join(format!("browser.{}", std::process::id()));
        fs::create_dir_all(&partial).map_err(|error| error.to_string())?;
        for file in ["package.json", LOCK] {
            fs::copy(source.join(file), partial.join(file)).map_err(|error| error.to_string())?;
        }
        let output = Command::new(npm)
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&partial)
            .output()
            .map_err(|error| format!("{}: {error}", npm.display()))?;
        if !output.status.success() {
            let _ = fs::remove_dir_all(&partial);
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let _ = fs::remove_dir_all(&place);
        // Somebody else may have been faster.
        let _ = fs::rename(&partial, &place);
        let _ = fs::remove_dir_all(&partial);
    }
    Ok(place.join("node_modules"))
}
