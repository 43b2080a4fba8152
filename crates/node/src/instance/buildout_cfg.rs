//! The partition's `buildout.cfg`: the release's template and the node's tail (N 2.4). No I/O.

use std::path::Path;

/// What the tail tells the recipes.
#[derive(Debug)]
pub(crate) struct Tail<'a> {
    pub(crate) node: &'a str,
    pub(crate) partition: &'a str,
    pub(crate) master_url: &'a str,
    pub(crate) release: &'a str,
    /// Certificate and key of the partition.
    pub(crate) certificate: Option<(&'a Path, &'a Path)>,
    pub(crate) shared_part_list: &'a str,
    pub(crate) build_time_part_list: &'a str,
    pub(crate) requested_state: &'a str,
    pub(crate) storage_home: &'a str,
    pub(crate) ipv4_global_network: &'a str,
}

/// The whole file.
pub(crate) fn render(template: &[u8], tail: &Tail<'_>) -> Vec<u8> {
    let mut out = template.to_vec();
    out.extend_from_slice(b"\n\n");
    out.extend_from_slice(tail.text().as_bytes());
    out
}

impl Tail<'_> {
    fn text(&self) -> String {
        let path =
            |path: Option<&Path>| path.map_or_else(String::new, |path| path.display().to_string());
        let list = |text: &str| {
            let lines: Vec<&str> = text.trim().lines().map(str::trim).collect();
            lines.join("\n  ")
        };
        let Tail {
            node,
            partition,
            master_url,
            release,
            requested_state,
            storage_home,
            ipv4_global_network,
            ..
        } = self;
        let certificate = path(self.certificate.map(|(certificate, _)| certificate));
        let key = path(self.certificate.map(|(_, key)| key));
        let shared = list(self.shared_part_list);
        let build_time = list(self.build_time_part_list);
        format!(
            "\
# What follows is added by the SlapOS node
[buildout]
bin-directory = ${{buildout:directory}}/sbin
offline = true

[slap-connection]
computer-id = {node}
partition-id = {partition}
server-url = {master_url}
software-release-url = {release}
key-file = {key}
cert-file = {certificate}
shared-part-list =
  {shared}
build-time-part-list =
  {build_time}
requested-state = {requested_state}

[slap_connection]
computer_id = {node}
partition_id = {partition}
server_url = {master_url}
software_release_url = {release}
key_file = {key}
cert_file = {certificate}

[storage-configuration]
storage-home = {storage_home}

[network-information]
global-ipv4-network = {ipv4_global_network}
# End of what the SlapOS node adds
"
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn n_2_4_the_tail_follows_the_template() {
        let tail = Tail {
            node: "COMP-1",
            partition: "slappart0",
            master_url: "http://[::1]:5000",
            release: "/srv/a$b.cfg",
            certificate: Some((
                Path::new("/pki/slappart0.crt"),
                Path::new("/pki/slappart0.key"),
            )),
            shared_part_list: "\n/opt/shared\n/srv/shared",
            build_time_part_list: "",
            requested_state: "started",
            storage_home: "",
            ipv4_global_network: "10.0.0.0/8",
        };
        let text = String::from_utf8(render(b"[buildout]\nparts =\n", &tail)).unwrap();
        let expected = "[buildout]\nparts =\n\n\n# What follows is added by the SlapOS node\n\
            [buildout]\nbin-directory = ${buildout:directory}/sbin\noffline = true\n\n\
            [slap-connection]\ncomputer-id = COMP-1\npartition-id = slappart0\n\
            server-url = http://[::1]:5000\nsoftware-release-url = /srv/a$b.cfg\n\
            key-file = /pki/slappart0.key\ncert-file = /pki/slappart0.crt\n\
            shared-part-list =\n  /opt/shared\n  /srv/shared\n\
            build-time-part-list =\n  \nrequested-state = started\n\n\
            [slap_connection]\ncomputer_id = COMP-1\npartition_id = slappart0\n\
            server_url = http://[::1]:5000\nsoftware_release_url = /srv/a$b.cfg\n\
            key_file = /pki/slappart0.key\ncert_file = /pki/slappart0.crt\n\n\
            [storage-configuration]\nstorage-home = \n\n\
            [network-information]\nglobal-ipv4-network = 10.0.0.0/8\n\
            # End of what the SlapOS node adds\n";
        assert_eq!(text, expected);
    }
}
