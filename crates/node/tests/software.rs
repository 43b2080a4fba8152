//! `node software` against a Master that answers what the test says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;

use common::{Fake, Node, RELEASE, installation};
use node::software::BuildError;
use node::{LogObserver, Outcome, software};
use slap::{InstallationState, InstanceState, ReleaseUrl};

#[test]
fn releases_are_built_side_by_side_and_each_failure_is_its_own() {
    let (node, mut fake) = (Node::new(0), Fake::new());
    fake.release = Box::new(|job, output| {
        output("first line");
        if job.release.as_str().ends_with("bad") {
            return Err(BuildError::Failed {
                title: "Failed to run buildout profile in directory 'D':".into(),
                output: "first line\nwhy\n".into(),
            });
        }
        fs::write(job.directory.join("built"), "").unwrap();
        Ok(())
    });
    let available = Some(InstallationState::Available);
    node.master.edit(|document| {
        document.installations = vec![
            installation("https://x/bad", available),
            installation("https://x/good", available),
        ];
    });
    let config = node.config("");
    let run = |options: &software::Options| {
        software::run_with(&config, options, &LogObserver, &fake).unwrap()
    };
    assert_eq!(run(&Default::default()), Outcome::Failure);
    let mut calls = node.master.calls();
    calls.sort();
    assert_eq!(
        calls,
        [
            "availableSoftwareRelease url=https://x/good",
            "buildingSoftwareRelease url=https://x/bad",
            "buildingSoftwareRelease url=https://x/good",
            "softwareReleaseError url=https://x/bad error_log=Failed to run buildout profile in \
             directory 'D':\nfirst line\nwhy\n",
        ]
    );
    let (bad, good) = ["https://x/bad", "https://x/good"]
        .map(|url| ReleaseUrl::new(url).unwrap())
        .into();
    let completed = config.release_directory(&good).join(".completed");
    assert_eq!(fs::read_to_string(&completed).unwrap().len(), 24);
    assert!(!config.release_directory(&bad).join(".completed").exists());
    let log = fs::read_to_string(config.release_log(&bad)).unwrap();
    assert!(log.starts_with("first line\n"), "{log}");

    // A report that does not arrive is made again.
    fs::remove_file(&completed).unwrap();
    let only = software::Options {
        only: vec![node::layout::release_key(&good)],
        ..Default::default()
    };
    node.master
        .answer("availableSoftwareRelease", &[(500, ""), (200, "OK")]);
    assert_eq!(run(&only), Outcome::Failure);
    assert!(!completed.exists());
    assert_eq!(run(&only), Outcome::Success);
    assert!(completed.exists());
    node.master.calls();
    assert_eq!(run(&only), Outcome::Success);
    assert!(node.master.calls().is_empty(), "nothing to do");

    // Collecting what is not listed spares what an instance uses, and an empty list is no order.
    let collect = software::Options {
        garbage_collect: true,
        ..Default::default()
    };
    for release in [&bad, &good] {
        fs::write(config.release_directory(release).join("buildout.cfg"), "").unwrap();
    }
    let used = node.with_release();
    fs::write(used.join("buildout.cfg"), "").unwrap();
    node.master.edit(|document| document.installations.clear());
    run(&collect);
    assert!(completed.exists());
    node.want("part0", InstanceState::Started, "1");
    node.master.edit(|document| {
        document.installations = vec![installation(
            "https://x/good",
            Some(InstallationState::Destroyed),
        )];
    });
    run(&collect);
    assert!(
        !config.release_directory(&good).exists(),
        "given up explicitly"
    );
    assert!(!config.release_directory(&bad).exists(), "not listed");
    assert!(used.exists(), "used by part0: {RELEASE}");
    assert_eq!(
        node.master.calls().last().unwrap(),
        "destroyedSoftwareRelease url=https://x/good"
    );
}

/// Serves files by their names until the test ends; where.
fn serve(files: BTreeMap<String, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let path = first.split(' ').nth(1).unwrap().to_owned();
            let found = files.get(&path);
            let status = if found.is_some() { 200 } else { 404 };
            let body = found.cloned().unwrap_or_default();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    url
}

fn shell(directory: &std::path::Path, script: &str) -> String {
    let output = Command::new("sh")
        .args(["-e", "-c", script])
        .current_dir(directory)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn n_3_1_1_a_release_is_taken_from_the_cache_when_somebody_vouches_for_it() {
    let (node, mut fake) = (Node::new(0), Fake::new());
    fake.release = Box::new(|job, _| {
        fs::write(job.directory.join("built"), "").unwrap();
        Ok(())
    });
    let here = node.path("here");
    fs::create_dir(&here).unwrap();
    shell(
        &here,
        "openssl req -x509 -nodes -newkey rsa:2048 -days 9 -subj /CN=x -keyout key -out crt 2>&1",
    );
    let root = node.path("soft").display().to_string();
    let names = [
        "good", "moved", "forged", "unsigned", "evil", "absent", "other",
    ];
    let mut files = BTreeMap::new();
    for name in names {
        let url = format!("https://x/{name}");
        let key = node::layout::release_key(&ReleaseUrl::new(&*url).unwrap());
        let inside = if name == "evil" { "other" } else { &key };
        shell(
            &here,
            &format!(
                "rm -rf pack && mkdir -p pack/{inside}/bin && echo {name} > pack/{inside}/taken
                 ln -s /etc pack/{inside}/link && tar -C pack -czf {name}.tar.gz {inside}"
            ),
        );
        let sum = shell(&here, &format!("sha512sum {name}.tar.gz | cut -d' ' -f1"));
        let release = fs::read_to_string("/etc/os-release").unwrap();
        let get = |name: &str| -> String {
            let line = release.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        let multiarch = shell(
            &here,
            "gcc -dumpmachine 2>/dev/null || echo $(uname -m)-linux-gnu",
        );
        let text = serde_json::json!({
            "sha512": sum, "software_url": url, "multiarch": multiarch,
            "software_root": if name == "moved" { "/elsewhere" } else { &root },
            "os": [get("ID="), get("VERSION_ID="), get("VERSION_CODENAME=")],
        })
        .to_string();
        fs::write(here.join("text"), &text).unwrap();
        let signature = shell(&here, "openssl dgst -sha1 -sign key text | base64 -w0");
        let text = text.replace("soft", if name == "forged" { "sofT" } else { "soft" });
        let signature = if name == "unsigned" { "" } else { &signature };
        let list = serde_json::json!([[text, signature]]).to_string();
        files.insert(format!("/dir/{key}"), list.into_bytes());
        let archive = match name {
            "absent" => continue,
            // Somebody changed what the cache holds.
            "other" => fs::read(here.join("good.tar.gz")).unwrap(),
            _ => fs::read(here.join(format!("{name}.tar.gz"))).unwrap(),
        };
        files.insert(format!("/cache/{sum}"), archive);
    }
    let cache = serve(files);
    let certificate = fs::read_to_string(here.join("crt")).unwrap();
    let networkcache = format!(
        "[networkcache]\ndownload-binary-dir-url = {cache}/dir\n\
         download-binary-cache-url = {cache}/cache/\nsignature-certificate-list =\n  {}\n",
        certificate.replace('\n', "\n  ")
    );
    node.master.edit(|document| {
        let wanted = names.iter().map(|name| {
            let url = format!("https://x/{name}");
            installation(&url, Some(InstallationState::Available))
        });
        document.installations = wanted.collect();
    });
    let run = |more: &str| {
        let config = node.config(&format!("{networkcache}{more}"));
        let run = software::run_with(&config, &Default::default(), &LogObserver, &fake);
        (config, run.unwrap())
    };
    // Refused by its URL, it is built as the others are that cannot be taken.
    let (config, outcome) = run("download-from-binary-cache-url-blacklist =\n  https://x/good\n");
    assert_eq!(outcome, Outcome::Success);
    let directory = |name: &str| {
        config.release_directory(&ReleaseUrl::new(format!("https://x/{name}")).unwrap())
    };
    for name in names {
        assert!(directory(name).join("built").exists(), "{name} is built");
        fs::remove_dir_all(directory(name)).unwrap();
    }
    // What must not be built is not.
    let forced = "download-from-binary-cache-force-url-list =\n  https://x/\n";
    node.master.calls();
    assert_eq!(run(forced).1, Outcome::Failure);
    let good = directory("good");
    assert_eq!(fs::read_to_string(good.join("taken")).unwrap(), "good\n");
    assert!(good.join(".completed").exists() && !good.join("built").exists());
    for name in &names[1..] {
        assert!(
            !directory(name).exists(),
            "{name} is neither believed nor built"
        );
    }
    let told = node.master.calls().join("\n");
    assert!(
        told.contains("availableSoftwareRelease url=https://x/good"),
        "{told}"
    );
    for (name, reason) in [
        ("moved", "it has nothing that fits this machine"),
        ("other", "what came is not what was signed"),
        ("evil", "the archive holds no directory"),
        ("absent", "status 404"),
    ] {
        let said = told
            .split("softwareReleaseError")
            .any(|part| part.contains(&format!("https://x/{name} ")) && part.contains(reason));
        assert!(said, "{name}: {told}");
    }
    let left: Vec<_> = fs::read_dir(node.path("soft"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".cache"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A cache that keeps what it is given, as the released servers do.
fn keeping_cache() -> String {
    use std::io::Read;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut kept: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let (method, path) = line.rsplit_once(' ').unwrap().0.split_once(' ').unwrap();
            let (method, path) = (method.to_owned(), path.to_owned());
            let mut length = 0;
            loop {
                line.clear();
                reader.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                let (name, value) = line.split_once(':').unwrap();
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let (status, reply) = match method.as_str() {
                "GET" => match kept.get(&path) {
                    Some(found) => (200, found.clone()),
                    None => (404, Vec::new()),
                },
                "PUT" => {
                    let list = [b"[".as_slice(), &body, b"]"].concat();
                    kept.insert(path, list);
                    (201, Vec::new())
                }
                _ => {
                    let file = tempfile::NamedTempFile::new().unwrap();
                    fs::write(file.path(), &body).unwrap();
                    let sum = format!("sha512sum {} | cut -d' ' -f1", file.path().display());
                    let sum = shell(std::path::Path::new("/"), &sum);
                    kept.insert(format!("/cache/{sum}"), body);
                    (201, sum.into_bytes())
                }
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                reply.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &reply].concat());
        }
    });
    url
}

#[test]
fn n_3_1_what_was_built_is_given_to_the_cache_and_taken_from_it() {
    let (node, mut fake) = (Node::new(0), Fake::new());
    fake.release = Box::new(|job, _| {
        fs::write(job.directory.join("built"), "here").unwrap();
        if job.release.as_str().ends_with("private") {
            fs::write(job.directory.join(".shared"), "").unwrap();
        }
        Ok(())
    });
    let here = node.path("here");
    fs::create_dir(&here).unwrap();
    shell(
        &here,
        "openssl req -x509 -nodes -newkey rsa:2048 -days 9 -subj /CN=x -keyout key -out crt 2>&1",
    );
    let cache = keeping_cache();
    let certificate = fs::read_to_string(here.join("crt")).unwrap();
    let more = format!(
        "[networkcache]\ndownload-binary-dir-url = {cache}/dir\n\
         download-binary-cache-url = {cache}/cache\nupload-binary-dir-url = {cache}/dir\n\
         upload-binary-cache-url = {cache}/cache\nsignature-private-key-file = {}\n\
         upload-to-binary-cache-url-blacklist =\n  https://x/secret\n\
         signature-certificate-list =\n  {}\n",
        here.join("key").display(),
        certificate.replace('\n', "\n  ")
    );
    let config = node.config(&more);
    assert!(config.unsupported.is_empty());
    let names = ["one", "private", "secret"];
    node.master.edit(|document| {
        let wanted = names.iter().map(|name| {
            let url = format!("https://x/{name}");
            installation(&url, Some(InstallationState::Available))
        });
        document.installations = wanted.collect();
    });
    let directory = |name: &str| {
        config.release_directory(&ReleaseUrl::new(format!("https://x/{name}")).unwrap())
    };
    let run =
        |fake: &Fake| software::run_with(&config, &Default::default(), &LogObserver, fake).unwrap();
    assert_eq!(run(&fake), Outcome::Success);
    for name in names {
        fs::remove_dir_all(directory(name)).unwrap();
    }
    fake.release = Box::new(|job, _| {
        fs::write(job.directory.join("built"), "again").unwrap();
        Ok(())
    });
    assert_eq!(run(&fake), Outcome::Success);
    for (name, expected) in [("one", "here"), ("private", "again"), ("secret", "again")] {
        let built = fs::read_to_string(directory(name).join("built")).unwrap();
        assert_eq!(built, expected, "{name}");
        assert!(directory(name).join(".completed").exists(), "{name}");
    }
    // A cache that is away costs nothing but the upload.
    fs::remove_dir_all(directory("one")).unwrap();
    let away = node.config(&more.replace(&cache, "http://127.0.0.1:9"));
    let outcome = software::run_with(&away, &Default::default(), &LogObserver, &fake).unwrap();
    assert_eq!(outcome, Outcome::Success);
    let built = fs::read_to_string(directory("one").join("built")).unwrap();
    assert_eq!(built, "again");
}
