//! Examples of the commands that show none where they are described. Every line can be typed.

/// The examples of a command, by the words that name it.
pub(super) fn of(command: &str) -> Option<String> {
    let (_, lines) = EXAMPLES.iter().find(|(name, _)| *name == command)?;
    let lines: Vec<String> = lines.iter().map(|line| format!("  {line}")).collect();
    Some(lines.join("\n"))
}

const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "service list",
        &[
            "slapos service list",
            "slapos service list --watch",
            "slapos service list --output json | jq -r 'keys[]'",
            r#"for title in $(slapos service list -o name); do slapos service info "$title"; done"#,
        ],
    ),
    (
        "service info",
        &[
            "slapos service info hello",
            r#"slapos service info hello --output json | jq -r '."connection-parameters".url'"#,
            "slapos service info hello --news",
        ],
    ),
    (
        "service tree",
        &[
            "slapos service tree hello",
            "slapos service tree hello --output json | jq -r '.[].node'",
        ],
    ),
    (
        "service events",
        &[
            "slapos service events hello",
            "slapos service events hello --follow",
        ],
    ),
    (
        "service logs",
        &[
            "slapos service logs hello",
            "slapos service logs hello -n 1",
        ],
    ),
    (
        "service promises",
        &[
            "slapos service promises hello",
            "slapos service promises hello --failing",
            "slapos service promises hello --output json | jq -r '.[] | select(.failed).promise'",
        ],
    ),
    (
        "service start",
        &[
            "slapos service start hello",
            "slapos service start hello blog --wait",
        ],
    ),
    (
        "service stop",
        &[
            "slapos service stop hello",
            "slapos service stop hello blog --wait",
        ],
    ),
    (
        "service destroy",
        &[
            "slapos service destroy hello",
            "slapos service destroy hello blog --yes --wait",
        ],
    ),
    ("service rename", &["slapos service rename hello greetings"]),
    (
        "service upgrade",
        &[
            "slapos service upgrade hello --wait",
            "slapos service upgrade hello https://example.com/2/software.cfg",
        ],
    ),
    (
        "computer list",
        &["slapos computer list", "slapos computer list --output json"],
    ),
    (
        "computer info",
        &[
            "slapos computer info COMP-1",
            "slapos computer info COMP-1 --output yaml",
        ],
    ),
    (
        "node format",
        &[
            "slapos node format --now",
            "slapos node format --now --dry_run",
        ],
    ),
    (
        "node software",
        &[
            "slapos node software --now",
            "slapos node software --all --cfg ~/node/etc/slapos.cfg",
        ],
    ),
    (
        "node instance",
        &[
            "slapos node instance --now",
            "slapos node instance --all --cfg ~/node/etc/slapos.cfg",
        ],
    ),
    ("node report", &["slapos node report --now"]),
    (
        "node promise",
        &[
            "slapos node promise --now",
            "slapos node promise --now --only slappart0,slappart3",
        ],
    ),
    (
        "node bang",
        &["slapos node bang --message 'the disk was replaced'"],
    ),
    (
        "node supervisorctl",
        &[
            "slapos node supervisorctl status",
            "slapos node supervisorctl restart slappart0:",
        ],
    ),
    (
        "node agent",
        &[
            "sudo slapos node agent",
            "sudo systemctl enable --now slapos-node",
        ],
    ),
    (
        "node usage",
        &[
            "sudo slapos node usage",
            "sudo slapos node usage --output json | jq -r '.[] | \"\\(.partition) \\(.memory_bytes)\"'",
        ],
    ),
    (
        "node status",
        &["slapos node status", "slapos node status slappart0:"],
    ),
    (
        "node start",
        &[
            "slapos node start slappart0:server",
            "slapos node start all",
        ],
    ),
    (
        "node stop",
        &[
            "slapos node stop slappart0:server",
            "slapos node stop slappart0:",
        ],
    ),
    (
        "node restart",
        &[
            "slapos node restart slappart0:server",
            "slapos node restart all",
        ],
    ),
    (
        "node tail",
        &[
            "slapos node tail slappart0:server",
            "slapos node tail -f slappart0:server",
        ],
    ),
    (
        "node supervisord",
        &[
            "slapos node supervisord",
            "slapos node supervisord --nodaemon",
        ],
    ),
    ("master user list", &["slapos master user list"]),
    ("master user disable", &["slapos master user disable alice"]),
    ("master user enable", &["slapos master user enable alice"]),
    ("master user admin", &["slapos master user admin alice"]),
    ("master project list", &["slapos master project list"]),
    (
        "master project close",
        &["slapos master project close PROJ-2"],
    ),
    (
        "master project member remove",
        &["slapos master project member remove PROJ-2 alice"],
    ),
    (
        "master project member list",
        &["slapos master project member list PROJ-2"],
    ),
    ("master token list", &["slapos master token list"]),
    (
        "master certificate revoke",
        &[
            "slapos master certificate list",
            "slapos master certificate revoke COMMON-NAME",
        ],
    ),
    ("master ca show", &["slapos master ca show"]),
    ("master ca export", &["slapos master ca export > ca.crt"]),
    ("master ca crl", &["slapos master ca crl > ca.crl"]),
    (
        "master node list",
        &[
            "slapos master node list",
            "slapos master node list --output json",
        ],
    ),
    (
        "master node scope",
        &[
            "slapos master node scope COMP-1 open",
            "slapos master node scope COMP-1 close/noallocation",
        ],
    ),
    (
        "master node capacity",
        &["slapos master node capacity COMP-1 20"],
    ),
    (
        "master node network",
        &["slapos master node network COMP-1 NET-1"],
    ),
    ("master node remove", &["slapos master node remove COMP-1"]),
    ("master node revoke", &["slapos master node revoke COMP-1"]),
    (
        "master network add",
        &["slapos master network add 'Paris' --project PROJ-1"],
    ),
    ("master network list", &["slapos master network list"]),
    ("master remote list", &["slapos master remote list"]),
    ("master product list", &["slapos master product list"]),
    (
        "master product release list",
        &["slapos master product release list helloworld"],
    ),
    (
        "master product release remove",
        &["slapos master product release remove helloworld https://example.com/software.cfg"],
    ),
    ("master decision list", &["slapos master decision list"]),
    (
        "master decision accept",
        &["slapos master decision accept 3"],
    ),
    (
        "master decision reject",
        &["slapos master decision reject 3"],
    ),
    (
        "master decision auto",
        &["slapos master decision auto HOSTSUBS-1"],
    ),
    ("master waiting", &["slapos master waiting"]),
    (
        "master upgrade",
        &["slapos master upgrade --data-dir ~/master"],
    ),
    ("master check", &["slapos master check"]),
    (
        "proxy show",
        &[
            "slapos proxy show",
            "slapos proxy show --params --output json",
        ],
    ),
];
