//! `slapos cachelookup` (N 6.7) against entries the released libnetworkcache signed, beside the
//! released command.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use testkit::{Peer, Rig, Run};

/// Makes a key with its certificate and signs, as the released library does.
const SIGN: &str = r#"
import json, os, subprocess, sys
from slapos.libnetworkcache import NetworkcacheClient
os.chdir(os.environ["HOME"])
for name in "good", "bad":
    subprocess.check_call(["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "9",
        "-subj", "/CN=" + name, "-keyout", name + ".key", "-out", name + ".crt"],
        stderr=subprocess.DEVNULL)
def entry(signer, **kw):
    config = {}
    if signer:
        config["signature-private-key-file"] = signer + ".key"
    client = NetworkcacheClient(config, open(signer + ".crt").read() if signer else "")
    text = json.dumps(kw)
    return [text, client._getSignatureString(text.encode())]
def built(signer, version, **kw):
    return entry(signer, sha512="ab" * 64, software_url="http://example.org/", software_root="/opt",
        multiarch=subprocess.check_output(["gcc", "-dumpmachine"], text=True).strip(),
        os=["debian", version, ""], **kw)
here = dict(line.strip().split("=") for line in open("/etc/os-release") if "=" in line)
tampered = built("good", "7.1")
tampered[0] = tampered[0].replace("7.1", "7.2")
os_version = here.get("VERSION_ID", "0").strip('"')
print(json.dumps({
    "d0d92cdc9b30c1300fbc3c7ebd304be0": [built("good", os_version), built("bad", "8"), built("", "9"),
        tampered, entry("good", sha512="cd" * 64, software_url="http://example.org/",
        machine="x86_64", os="('debian', '6', 'squeeze')")],
    "file-urlmd5:d0d92cdc9b30c1300fbc3c7ebd304be0": [
        entry("good", sha512="ef" * 64, url="http://example.org/", file="archive")],
    "pypi:six=1.17.0": [entry("bad", sha512="01" * 64, basename="six-1.17.0.tar.gz")],
    "pypi:none=1": [],
}))
"#;

/// Serves these texts below `/dir/` until the test ends; where.
fn serve(pages: BTreeMap<String, String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/dir", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let path = first.split(' ').nth(1).unwrap().trim_start_matches("/dir/");
            let (status, text) = match pages.get(path) {
                Some(page) => ("200 OK", page.as_str()),
                None => ("404 Not Found", ""),
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                text.len()
            );
        }
    });
    url
}

/// The cells of a table, whatever is drawn around them.
fn cells(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .map(|line| {
            let words = line.split(|c: char| c.is_whitespace() || "|│┆".contains(c));
            words
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|row| {
            let last = row.last().map(String::as_str);
            matches!(last, Some("yes" | "no" | "True" | "False"))
        })
        .collect()
}

#[test]
fn n_6_7_entries_are_found_and_believed_as_by_the_released_client() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    let Some(peer) = Peer::get(&rig) else { return };
    let pages = peer.python(&rig, SIGN).ok().json();
    let pages = pages.as_object().unwrap().iter();
    let url = serve(
        pages
            .map(|(key, list)| (key.clone(), list.to_string()))
            .collect(),
    );
    let certificate = rig.read("home/good.crt").replace('\n', "\n  ");
    let file = rig.read("slapos.cfg");
    rig.write(
        "slapos.cfg",
        format!(
            "{file}\n[networkcache]\ndownload-binary-dir-url = {url}\n\
             download-binary-cache-url = {url}\ndownload-dir-url = {url}\n\
             download-cache-url = {url}\nsignature-certificate-list =\n  {certificate}\n"
        ),
    );
    let md5 = "d0d92cdc9b30c1300fbc3c7ebd304be0";
    for (words, count) in [
        (vec!["binary-sr", "http://example.org/"], 5),
        (vec!["binary-sr", md5], 5),
        (vec!["url", "http://example.org/"], 1),
        (vec!["pypi", "six", "1.17.0"], 1),
        (vec!["pypi", "none", "1"], 0),
    ] {
        let arguments = [&["cachelookup"], &words[..]].concat();
        let ours = rig.run(&arguments).ok();
        let theirs = peer.slapos(&rig, &arguments).run().ok();
        let all = |run: &Run| cells(&format!("{}\n{}", run.stdout, run.stderr));
        assert_eq!(all(&ours).len(), count, "{ours}");
        // Theirs are behind the log's own words.
        let last = |rows: Vec<Vec<String>>, width: usize| -> Vec<Vec<String>> {
            rows.into_iter()
                .map(|row| row[row.len().saturating_sub(width)..].to_vec())
                .collect()
        };
        let ours = last(all(&ours), 3);
        assert_eq!(ours, last(all(&theirs), 3), "{words:?} {theirs}");
    }
    let verified = |words: &[&str]| -> Vec<bool> {
        let run = rig.run(&[&["cachelookup"], words, &["--output", "json"]].concat());
        let list = run.ok().json();
        let list = list.as_array().unwrap().iter();
        list.map(|entry| entry["verified"].as_bool().unwrap())
            .collect()
    };
    assert_eq!(
        verified(&["binary-sr", md5]),
        [true, false, false, false, true],
        "a stranger's, an unsigned and a changed one are not believed"
    );
    for words in [["pypi", "unknown", "2"].as_slice(), &["url", "http://x/"]] {
        let arguments = [&["cachelookup"], words].concat();
        rig.run(&arguments)
            .exits(1)
            .says("Object not found in cache");
        peer.slapos(&rig, &arguments).run().exits(1);
    }
}

#[test]
fn n_6_7_what_cannot_be_asked_is_named() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    rig.run(&["cachelookup", "pypi", "six", "1"])
        .exits(1)
        .says("`download-dir-url` is missing from section [networkcache]");
    let file = rig.read("slapos.cfg");
    let with = |more: &str| {
        rig.write(
            "slapos.cfg",
            format!("{file}\n[networkcache]\ndownload-dir-url = http://127.0.0.1:9/\n{more}"),
        );
        rig.run(&["cachelookup", "pypi", "six", "1"]).exits(1)
    };
    with("").says("http://127.0.0.1:9/pypi:six=1");
    with("signature-certificate-list = rubbish").says("holds no certificate in PEM form");
}
