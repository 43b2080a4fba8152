//! The network cache that Masters keep (N 1.4, 3.1.1): its answers beside those of the released
//! proxy, the released library as its client, nodes that give and take releases, and faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};
use testkit::{Peer, Rig, RigBuilder, Run, eventually};

const SOON: Duration = Duration::from_secs(60);
const LIBRARY: &str = include_str!("interop/networkcache.py");
/// Of `hello`.
const HELLO: &str = "9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca7\
                     2323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043";

/// A rig whose Master keeps a cache.
fn builder(place: &str) -> RigBuilder {
    // Upstream's proxy makes no directories.
    let directory = |name: &str| {
        let path = PathBuf::from(place).join(name);
        fs::create_dir_all(&path).unwrap();
        path.display().to_string()
    };
    Rig::builder(env!("CARGO_BIN_EXE_slapos"))
        .proxy_option(&format!(
            "shacache_content_directory = {}",
            directory("data")
        ))
        .proxy_option(&format!(
            "shacache_metadata_directory = {}",
            directory("dir")
        ))
}

/// A rig whose Master keeps a cache, with further options, and where that is.
fn rig(options: &[&str]) -> (Rig, tempfile::TempDir) {
    let place = tempfile::tempdir().unwrap();
    let mut builder = builder(place.path().to_str().unwrap());
    for option in options {
        builder = builder.proxy_option(option);
    }
    let rig = builder.build();
    rig.start_master();
    (rig, place)
}

/// What came back.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// Asks the rig's Master, and nothing between that might help.
fn ask(rig: &Rig, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
    ask_at(rig.port().number(), method, path, headers, body)
}

fn ask_at(port: u16, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
    let mut stream = connect(port);
    let length = format!("Content-Length: {}", body.len());
    let head = [&[length.as_str()], headers].concat().join("\r\n");
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // Who is refused early need not listen to the end.
    let _ = stream.write_all(body);
    read(stream)
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Whether an answer has all the bytes it announced.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let announced = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    announced.is_some_and(|count: usize| bytes.len() >= end + 4 + count)
}

fn read(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 << 10];
    // The released server goes on waiting for who it refused before it read everything.
    while !is_whole(&bytes) {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => bytes.extend(&piece[..count]),
            // Who breaks an answer off may do it rudely.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && !bytes.is_empty() => break,
            Err(error) => panic!("{error} after {:.300?}", String::from_utf8_lossy(&bytes)),
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{text:?}"));
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    Answer {
        status,
        headers: headers.collect(),
        body: body.to_owned(),
    }
}

fn names(place: &tempfile::TempDir, directory: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(place.path().join(directory))
        .unwrap()
        .map(|found| found.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".lock")
        .collect();
    names.sort();
    names
}

fn entry(about: &str, signature: &str) -> Vec<u8> {
    let text = json!({"sha512": about, "file": "h\u{e9}llo"}).to_string();
    json!([text, signature]).to_string().into_bytes()
}

/// Questions, in an order that makes sense.
fn transcript(rig: &Rig) -> Vec<(String, Answer)> {
    const JSON: &str = "Content-Type: application/json";
    let sum = format!("/shacache/cache/{HELLO}");
    let signed = entry(HELLO, "c2ln");
    let signed_again = entry(HELLO, "bmV3");
    let questions: Vec<(&str, &str, &[&str], &[u8])> = vec![
        ("GET", &sum, &[], b""),
        ("GET", "/shacache/cache/nonsense", &[], b""),
        ("GET", "/shacache/cache", &[], b""),
        ("GET", "/shacache/elsewhere", &[], b""),
        ("GET", "/shacache/dir/key", &[], b""),
        (
            "POST",
            "/shacache/cache",
            &["Content-Type: application/octet-stream"],
            b"hello",
        ),
        ("POST", "/shacache/cache/", &[], b"hello"),
        ("GET", &sum, &[], b""),
        ("HEAD", &sum, &[], b""),
        ("GET", &sum, &["Range: bytes=1-2"], b""),
        ("GET", &sum, &["Range: bytes=3-"], b""),
        ("GET", &sum, &["Range: bytes=-2"], b""),
        ("GET", &sum, &["Range: bytes=9-"], b""),
        ("PUT", &sum, &[], b"hello"),
        ("PUT", &sum, &[], b"something else"),
        ("PUT", "/shacache/cache", &[], b"hello"),
        ("OPTIONS", &sum, &[], b""),
        ("PUT", "/shacache/dir/key", &[JSON], &signed),
        ("GET", "/shacache/dir/key", &[], b""),
        ("PUT", "/shacache/dir/key", &[JSON], &signed_again),
        ("GET", "/shacache/dir/key", &[], b""),
        ("PUT", "/shacache/dir/a%3Ab", &[JSON], &signed),
        ("GET", "/shacache/dir/a:b", &[], b""),
        ("PUT", "/shacache/dir/some/thing", &[JSON], &signed),
        ("PUT", "/shacache/dir/key", &[], &signed),
        ("PUT", "/shacache/dir/key", &[JSON], b"[\"{}\"]"),
        ("PUT", "/shacache/dir/key", &[JSON], b"no JSON"),
        ("DELETE", "/shacache/dir/key", &[], b""),
        ("OPTIONS", "/shacache/dir/key", &[], b""),
        ("POST", "/shacache/update", &[], b""),
    ];
    questions
        .into_iter()
        .map(|(method, path, headers, body)| {
            let mut answer = ask(rig, method, path, headers, body);
            if let Some(allow) = answer.headers.get_mut("allow") {
                let mut methods: Vec<&str> = allow.split(", ").collect();
                methods.sort_unstable();
                *allow = methods.join(", ");
            }
            // What differs between two servers, and what ours has besides.
            let told = [
                "content-type",
                "content-length",
                "content-range",
                "content-disposition",
                "accept-ranges",
                "allow",
            ];
            answer
                .headers
                .retain(|name, _| told.contains(&name.as_str()));
            let what = format!("{method} {path} {}", headers.join(" "));
            (what.replace(HELLO, "SUM"), answer)
        })
        .collect()
}

#[test]
fn n_1_4_answers_are_those_of_the_released_proxy() {
    let (ours, _place) = rig(&[]);
    let Some(peer) = Peer::get(&ours) else { return };
    let place = tempfile::tempdir().unwrap();
    let theirs = builder(place.path().to_str().unwrap()).build();
    theirs.start_master_as(&peer.slapos(&theirs, &["proxy", "start"]));
    let (ours, theirs) = (transcript(&ours), transcript(&theirs));
    // Why it is refused is told in other words.
    let in_own_words = [
        "PUT /shacache/cache/SUM ",
        "PUT /shacache/dir/key Content-Type: application/json",
    ];
    for ((what, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        if in_own_words.contains(&what.as_str()) && theirs.status >= 400 {
            assert_eq!(ours.status, theirs.status, "{what}");
            continue;
        }
        assert_eq!(ours, theirs, "{what}");
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn what_is_not_right_is_refused_and_leaves_nothing() {
    let (rig, place) = rig(&[
        "shacache_object_mib_max = 1",
        "shacache_total_mib_max = 2",
        "shacache_when_full = refuse",
    ]);
    const JSON: &str = "Content-Type: application/json";
    let refused = |answer: Answer, status: u16, says: &str| {
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.contains(says), "{answer:?}");
    };
    let large = vec![7; (1 << 20) + 1];
    let says = "an object may have 1048576 bytes";
    refused(ask(&rig, "POST", "/shacache/cache", &[], &large), 413, says);
    // The same, when its size is not told before.
    let mut stream = connect(rig.port().number());
    let head = "POST /shacache/cache HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    write!(stream, "{:x}\r\n", large.len()).unwrap();
    stream.write_all(&large).unwrap();
    stream.write_all(b"\r\n0\r\n\r\n").unwrap();
    refused(read(stream), 413, says);
    let wrong = format!("/shacache/cache/{}", "ab".repeat(64));
    refused(
        ask(&rig, "PUT", &wrong, &[], b"hello"),
        400,
        "the SHA-512 of what came is 9b71d2",
    );
    refused(
        ask(&rig, "PUT", "/shacache/cache/AB", &[], b"hello"),
        400,
        "lower-case",
    );
    let path = "/shacache/dir/key";
    let signed = entry(HELLO, "c2ln");
    refused(
        ask(&rig, "PUT", path, &[JSON], &signed),
        409,
        "upload it first",
    );
    assert!(names(&place, "data").is_empty() && names(&place, "dir").is_empty());

    assert_eq!(
        ask(&rig, "POST", "/shacache/cache", &[], b"hello").status,
        201
    );
    refused(
        ask(&rig, "PUT", path, &[JSON], &entry(HELLO, "")),
        403,
        "entries are signed here",
    );
    refused(
        ask(&rig, "PUT", path, &[JSON], &entry(HELLO, "<x>")),
        400,
        "not base64",
    );
    refused(
        ask(&rig, "PUT", "/shacache/dir/.x", &[JSON], &signed),
        400,
        "does not begin with a dot",
    );
    let long = entry(HELLO, &"a".repeat(200_000));
    refused(ask(&rig, "PUT", path, &[JSON], &long), 413, "exceeds");
    assert!(names(&place, "dir").is_empty());

    // Full is full.
    let one = vec![1; 1 << 20];
    assert_eq!(ask(&rig, "POST", "/shacache/cache", &[], &one).status, 201);
    let two = vec![2; 1 << 20];
    refused(
        ask(&rig, "POST", "/shacache/cache", &[], &two),
        507,
        "the network cache is full",
    );
    assert_eq!(names(&place, "data").len(), 2);
    // What a browser is shown elsewhere gives no orders.
    let evil = ask(
        &rig,
        "POST",
        "/shacache/cache",
        &["Origin: http://evil"],
        b"x",
    );
    refused(evil, 403, "pages of other sites");

    // Nothing of it is there where nobody asked for it.
    let without = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    without.start_master();
    let path = format!("/shacache/cache/{HELLO}");
    refused(
        ask(&without, "GET", &path, &[], b""),
        503,
        "keeps no network cache",
    );
}

#[test]
fn what_was_not_used_the_longest_makes_room() {
    let (rig, place) = rig(&["shacache_total_mib_max = 2"]);
    let object = |digit: u8| vec![digit; 700_000];
    let give = |digit: u8| {
        let answer = ask(&rig, "POST", "/shacache/cache", &[], &object(digit));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body
    };
    let [one, two] = [1, 2].map(give);
    const JSON: &str = "Content-Type: application/json";
    for (key, sum) in [("one", &one), ("two", &two)] {
        let path = format!("/shacache/dir/{key}");
        assert_eq!(
            ask(&rig, "PUT", &path, &[JSON], &entry(sum, "c2ln")).status,
            201
        );
    }
    let is_there = |sum: &str| {
        let path = format!("/shacache/cache/{sum}");
        ask(&rig, "GET", &path, &[], b"").status == 200
    };
    assert!(is_there(&one));
    let three = give(3);
    // Nobody is sent to what is gone.
    assert_eq!(ask(&rig, "GET", "/shacache/dir/two", &[], b"").status, 404);
    assert_eq!(ask(&rig, "GET", "/shacache/dir/one", &[], b"").status, 200);
    assert!(!is_there(&two) && is_there(&one) && is_there(&three));
    assert_eq!(names(&place, "data").len(), 2);
    let swept = ask(&rig, "POST", "/shacache/update", &[], b"");
    assert_eq!(swept.body, r#"{"removed": ["two"], "updated": []}"#);
    assert_eq!(names(&place, "dir"), ["one"]);
}

#[test]
fn a_master_killed_during_an_upload_leaves_no_half_object() {
    let (rig, place) = rig(&[]);
    const JSON: &str = "Content-Type: application/json";
    let whole = vec![b'a'; 3_000_000];
    let sum = ask(&rig, "POST", "/shacache/cache", &[], &whole).body;
    let indexed = ask(
        &rig,
        "PUT",
        "/shacache/dir/key",
        &[JSON],
        &entry(&sum, "c2ln"),
    );
    assert_eq!(indexed.status, 201);

    let mut stream = connect(rig.port().number());
    let head = format!(
        "POST /shacache/cache HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        64 << 20
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&whole).unwrap();
    eventually("half of it is on the disk", SOON, || {
        let names = names(&place, "data");
        let written = |name: &String| {
            let path = place.path().join("data").join(name);
            name.starts_with('.') && fs::metadata(path).is_ok_and(|it| it.len() > 1_000_000)
        };
        if names.iter().any(written) {
            Ok(())
        } else {
            Err(names)
        }
    });
    rig.kill_master();
    rig.start_master();
    let path = format!("/shacache/cache/{sum}");
    let found = ask(&rig, "GET", &path, &[], b"");
    assert_eq!(names(&place, "data"), std::slice::from_ref(&sum));
    assert_eq!(found.body.as_bytes(), whole);
    let tag = found.headers["etag"].clone();
    let known = ask(&rig, "GET", &path, &[&format!("If-None-Match: {tag}")], b"");
    assert_eq!((known.status, known.body.as_str()), (304, ""));
    assert_eq!(ask(&rig, "GET", "/shacache/dir/key", &[], b"").status, 200);

    // Whoever breaks off leaves nothing either.
    let mut stream = connect(rig.port().number());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&whole).unwrap();
    drop(stream);
    eventually("the half is gone", SOON, || {
        let names = names(&place, "data");
        if names == std::slice::from_ref(&sum) {
            Ok(())
        } else {
            Err(names)
        }
    });

    // The same content twice at the same time is one object.
    let again = vec![b'b'; 5_000_000];
    let port = rig.port().number();
    std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| ask_at(port, "POST", "/shacache/cache", &[], &again)))
            .collect();
        let mut sums: Vec<String> = uploads
            .into_iter()
            .map(|upload| upload.join().unwrap().body)
            .collect();
        sums.dedup();
        assert_eq!(sums.len(), 1, "{sums:?}");
    });
    assert_eq!(names(&place, "data").len(), 2);
}

#[test]
fn what_is_not_here_is_fetched_from_the_cache_behind_and_kept() {
    const JSON: &str = "Content-Type: application/json";
    let (behind, place_behind) = rig(&[]);
    let url = format!("{}shacache", behind.master_url());
    let (rig, place) = rig(&[
        &format!("shacache_upstream_cache_url = {url}/cache"),
        &format!("shacache-upstream-dir-url = {url}/dir/"),
    ]);
    let get = |path: &str, headers: &[&str]| ask(&rig, "GET", path, headers, b"");
    assert_eq!(get("/shacache/dir/key", &[]).status, 404);
    assert_eq!(get(&format!("/shacache/cache/{HELLO}"), &[]).status, 404);
    let give = |content: &[u8], key: &str| {
        let sum = ask(&behind, "POST", "/shacache/cache", &[], content).body;
        let path = format!("/shacache/dir/{key}");
        let answer = ask(&behind, "PUT", &path, &[JSON], &entry(&sum, "c2ln"));
        assert_eq!(answer.status, 201, "{answer:?}");
        sum
    };
    let large = vec![b'l'; 5_000_000];
    let (one, two) = (give(&large, "key"), give(b"hello", "key"));
    let three = give(&vec![b's'; 2_000_000], "other");

    // What it gives, and what is there.
    let theirs = ask(&behind, "GET", "/shacache/dir/key", &[], b"").body;
    assert_eq!(get("/shacache/dir/key", &[]).body, theirs);
    let path = format!("/shacache/cache/{one}");
    let passed_on = get(&path, &[]);
    assert_eq!(passed_on.body.as_bytes(), large);
    assert_eq!(passed_on.headers["content-length"], "5000000");
    eventually("it is kept", SOON, || {
        let names = names(&place, "data");
        if names == std::slice::from_ref(&one) {
            Ok(())
        } else {
            Err(names)
        }
    });
    // A part of what is not here yet.
    let part = get(&format!("/shacache/cache/{two}"), &["Range: bytes=1-2"]);
    assert_eq!((part.status, part.body.as_str()), (206, "el"));

    // What is not what its name says is not passed on as a whole, and not kept.
    let file = place_behind.path().join("data").join(&three);
    fs::write(&file, vec![b't'; 2_000_000]).unwrap();
    let path_of_three = format!("/shacache/cache/{three}");
    let broken = get(&path_of_three, &[]);
    assert_eq!(broken.headers["content-length"], "2000000");
    assert!(broken.body.len() < 2_000_000);
    eventually("nothing of it is kept", SOON, || {
        let found = names(&place, "data");
        if found.len() == 2 { Ok(()) } else { Err(found) }
    });

    // One's own entries stand beside those; without the other cache there is what is here.
    let own = ask(
        &rig,
        "PUT",
        "/shacache/dir/key",
        &[JSON],
        &entry(&one, "b3du"),
    );
    assert_eq!(own.status, 201, "{own:?}");
    behind.kill_master();
    let list: Vec<(String, String)> =
        serde_json::from_str(&get("/shacache/dir/key", &[]).body).unwrap();
    let signatures: Vec<&str> = list
        .iter()
        .map(|(_, signature)| signature.as_str())
        .collect();
    assert_eq!(signatures, ["b3du", "c2ln", "c2ln"]);
    assert_eq!(get(&path, &[]).body.len(), large.len());
    assert_eq!(get("/shacache/dir/elsewhere", &[]).status, 502);
    assert_eq!(get(&path_of_three, &[]).status, 502);
}

/// Runs the released library's side.
fn library(rig: &Rig, peer: &Peer, configuration: &Json, steps: &Json) -> Vec<Json> {
    rig.write(
        "networkcache.json",
        json!({"configuration": configuration, "steps": steps}).to_string(),
    );
    let run: Run = peer.python(rig, LIBRARY).ok();
    run.stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_released_library_gives_and_takes_and_believes() {
    let (rig, place) = rig(&[]);
    let Some(peer) = Peer::get(&rig) else { return };
    let url = format!("{}shacache", rig.master_url());
    let configuration = json!({
        "upload-cache-url": format!("{url}/cache"), "upload-dir-url": format!("{url}/dir"),
        "download-cache-url": format!("{url}/cache"), "download-dir-url": format!("{url}/dir"),
    });
    let steps = json!([
        ["upload", "good", "file-urlmd5:x", "hello"],
        ["upload", "good", "file-urlmd5:x", "hello again"],
        ["upload", "bad", "file-urlmd5:x", "not to be believed"],
        ["select", "good", "file-urlmd5:x"],
        ["select", "bad", "file-urlmd5:x"],
        ["upload", "", "file-urlmd5:y", "unsigned"],
        ["select", "good", "file-urlmd5:y"],
        ["resume", HELLO, 2],
        ["large", 40],
    ]);
    let seen = library(&rig, &peer, &configuration, &steps);
    assert_eq!(
        Json::Array(seen),
        json!([
            true,
            true,
            true,
            ["hello again", "hello"],
            ["not to be believed"],
            "HTTP Error 403: Forbidden",
            "HTTP Error 404: Not Found",
            "llo",
            true,
        ])
    );
    assert_eq!(names(&place, "dir"), ["file-urlmd5:x", "large"]);
}

#[test]
fn n_3_1_one_node_builds_and_another_takes_what_it_built() {
    let (rig, place) = rig(&[]);
    let Some(peer) = Peer::get(&rig) else { return };
    let url = format!("{}shacache", rig.master_url());
    let configuration = json!({
        "download-cache-url": format!("{url}/cache"), "download-dir-url": format!("{url}/dir"),
    });
    library(&rig, &peer, &configuration, &json!([["keys"]]));
    let certificate = rig.read("home/good.crt").replace('\n', "\n  ");
    let home = rig.path().join("home");
    let section = format!(
        "[networkcache]\ndownload-binary-cache-url = {url}/cache\n\
         download-binary-dir-url = {url}/dir\nsignature-certificate-list =\n  {certificate}\n"
    );
    let ours = rig.read("slapos.cfg");
    let uploads = format!(
        "upload-binary-cache-url = {url}/cache\nupload-binary-dir-url = {url}/dir\n\
         signature-private-key-file = {}/good.key\n",
        home.display()
    );
    rig.write("slapos.cfg", format!("{ours}\n{section}{uploads}"));
    rig.node("format", &[]).ok();
    let release = rig.release("tests/software/services");
    rig.supply(&release);
    rig.node("software", &[]).ok();
    assert_eq!(names(&place, "data").len(), 1, "{}", rig.logs());

    // Another node of the same kind: its releases are at the same place, and nothing is there to
    // build from.
    let path = rig.path();
    fs::rename(path.join("soft"), path.join("soft-of-the-first")).unwrap();
    let second = ours
        .replacen("computer_id = ", "computer_id = second-", 1)
        .replace("/inst\n", "/inst-second\n")
        .replace("/computer.", "/computer-second.")
        .replace("/run/", "/run/second-");
    let file = rig.write("second.cfg", format!("{second}\n{section}"));
    let cfg = file.to_str().unwrap();
    let slapos = |arguments: &[&str]| rig.run(arguments).ok();
    slapos(&["node", "format", "--now", "--cfg", cfg]);
    let node = format!("second-{}", rig.node_id());
    slapos(&["supply", &release, &node]);
    fs::rename(path.join("releases"), path.join("releases-elsewhere")).unwrap();
    let run = slapos(&["node", "software", "--now", "--cfg", cfg]);
    let [md5] = &names(&place, "dir")[..] else {
        panic!("one key")
    };
    let taken = path.join("soft").join(md5);
    assert!(
        taken.join("instance.cfg").exists() && taken.join(".completed").exists(),
        "{run}"
    );

    // The released library believes our node, by its own code, and gets the very same archive.
    let seen = library(
        &rig,
        &peer,
        &configuration,
        &json!([["metadata", "good", md5], ["metadata", "bad", md5]]),
    );
    assert_eq!(seen[0][0]["software_url"], release);
    assert_eq!(seen[0][0]["matches"], true);
    assert_eq!(seen[1], json!([]));
    let looked = rig
        .run(&["cachelookup", "binary-sr", &release, "--output", "json"])
        .ok()
        .json();
    assert_eq!(looked[0]["verified"], true);
}
