//! What the crate's own tests share: a node on disk, without a Master.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use slap::document::{PartitionDocument, ReleaseForm};
use slap::{InstanceState, NodeId, PartitionId, ReleaseUrl};

use crate::config::{NodeConfig, Overrides};
use crate::promise::Runners;

pub(crate) struct TestNode {
    pub(crate) runners: Runners,
    root: tempfile::TempDir,
}

impl TestNode {
    /// A node with the partition `part0`.
    pub(crate) fn new() -> Self {
        let node = TestNode {
            runners: Runners::new(),
            root: tempfile::tempdir().unwrap(),
        };
        for name in ["soft", "inst", "inst/part0"] {
            fs::create_dir(node.path(name)).unwrap();
        }
        fs::set_permissions(node.path("inst/part0"), fs::Permissions::from_mode(0o750)).unwrap();
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn partition(&self, name: &str) -> PathBuf {
        self.path("inst/part0").join(name)
    }

    pub(crate) fn config(&self, more: &str) -> NodeConfig {
        let root = self.root.path().display();
        let text = format!(
            "[slapos]\ncomputer_id = COMP-1\nmaster_url = http://127.0.0.1:9/\nroot_check = false\n\
             software_root = {root}/soft\ninstance_root = {root}/inst\npidfile = {root}/node.pid\n\
             software_min_free_space = 1M\ninstance_min_free_space = 1M\n{more}\n"
        );
        let file = self.path("slapos.cfg");
        fs::write(&file, text).unwrap();
        NodeConfig::load(&file, &Overrides::new()).unwrap()
    }

    pub(crate) fn document(&self) -> PartitionDocument {
        let mut document = PartitionDocument::new(
            NodeId::new("COMP-1").unwrap(),
            PartitionId::new("part0").unwrap(),
        );
        document.state = Some(InstanceState::Started);
        document.release = Some(ReleaseForm::Url(ReleaseUrl::new("/sr.cfg").unwrap()));
        document
    }

    /// Writes a file of the partition, with its directories.
    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.partition(name);
        write(&path, text, mode);
        path
    }
}

pub(crate) fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
