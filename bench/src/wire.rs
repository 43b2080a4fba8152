//! The requests, byte for byte as upstream's client sends them (P 1.2, 1.4.1).

use slap::{Value, marshal};

use crate::failure::{Context, Failure};

/// The release every instance of the Master's benchmarks runs; no Master looks at it.
pub(crate) const RELEASE: &str = "https://software.example.com/bench/software.cfg";

/// The document of a value, as text.
fn document(value: &Value) -> Result<String, Failure> {
    marshal::encode(value).context("encoding a request")
}

/// `GET call?fields`, with upstream's headers.
pub(crate) fn get(call: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let query = form(fields);
    format!("GET /{call}?{query} HTTP/1.1\r\n{HEADERS}\r\n").into_bytes()
}

/// `POST call`, with upstream's headers.
pub(crate) fn post(call: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    post_body(call, &form(fields))
}

fn post_body(call: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /{call} HTTP/1.1\r\n{HEADERS}Content-type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const HEADERS: &str = "Host: 127.0.0.1\r\nUser-agent: slapos.core/1.26.1\r\n\
                       Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n";

/// A request with one more header.
pub(crate) fn with_header(request: &[u8], name: &str, value: &str) -> Vec<u8> {
    let line = request
        .windows(2)
        .position(|window| window == b"\r\n")
        .map_or(0, |at| at + 2);
    let mut changed = request[..line].to_vec();
    changed.extend(format!("{name}: {value}\r\n").bytes());
    changed.extend_from_slice(&request[line..]);
    changed
}

/// A request as a trusted proxy hands it on: who calls has the certificate of this common name.
pub(crate) fn called_by(common_name: &str, request: &[u8]) -> Vec<u8> {
    with_header(request, "Remote-User", common_name)
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

/// The person's request of a started instance on this node.
pub(crate) fn request(node: &str, title: &str, release: &str) -> Result<Vec<u8>, Failure> {
    request_sized(node, title, release, 3)
}

/// The same with another value of one parameter.
pub(crate) fn request_sized(
    node: &str,
    title: &str,
    release: &str,
    size: i64,
) -> Result<Vec<u8>, Failure> {
    let parameters = Value::dict([
        ("domain", Value::text("www.example.com")),
        ("name", Value::text("Ren\u{e9} & <sons>")),
        ("size", Value::Int(size.into())),
        ("enabled", Value::Bool(true)),
    ]);
    let sla = Value::dict([("computer_guid", Value::text(node))]);
    request_of(title, release, &parameters, &sla)
}

/// The person's request of a started instance with these parameters, on any node.
pub(crate) fn request_with(title: &str, parameters: &[(&str, &str)]) -> Result<Vec<u8>, Failure> {
    let parameters = Value::dict(
        parameters
            .iter()
            .map(|(key, text)| (*key, Value::text(*text))),
    );
    request_of(title, RELEASE, &parameters, &Value::dict::<String>([]))
}

fn request_of(
    title: &str,
    release: &str,
    parameters: &Value,
    sla: &Value,
) -> Result<Vec<u8>, Failure> {
    Ok(post(
        "requestComputerPartition",
        &[
            ("software_release", release),
            ("partition_reference", title),
            ("partition_parameter_xml", &document(parameters)?),
            ("filter_xml", &document(sla)?),
            ("software_type", "default"),
            ("state", &document(&Value::None)?),
            ("shared_xml", &document(&Value::Bool(false))?),
        ],
    ))
}

/// A request whose title is filled in later, again and again, for the price of a copy.
pub(crate) struct RequestTemplate {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl RequestTemplate {
    /// Titles are [`TITLE_WIDTH`] digits and letters, so that the length is always the same.
    pub(crate) fn new(node: &str) -> Result<RequestTemplate, Failure> {
        Self::of(&request(node, &mark(), RELEASE)?)
    }

    /// The request of a person, for any node.
    pub(crate) fn anywhere(person: &str) -> Result<RequestTemplate, Failure> {
        let parameters = [("domain", "www.example.com"), ("size", "3")];
        Self::of(&called_by(person, &request_with(&mark(), &parameters)?))
    }

    fn of(whole: &[u8]) -> Result<RequestTemplate, Failure> {
        let at = whole
            .windows(TITLE_WIDTH)
            .position(|window| window == mark().as_bytes())
            .ok_or_else(|| Failure::new("the title is not in the request"))?;
        Ok(RequestTemplate {
            before: whole[..at].to_vec(),
            after: whole[at + TITLE_WIDTH..].to_vec(),
        })
    }

    pub(crate) fn fill(&self, number: usize, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.before);
        to.extend_from_slice(title(number).as_bytes());
        to.extend_from_slice(&self.after);
    }
}

const TITLE_WIDTH: usize = 12;

/// Stands for the title in a template.
fn mark() -> String {
    "x".repeat(TITLE_WIDTH)
}

/// The title of instance number n.
pub(crate) fn title(number: usize) -> String {
    format!("bench{number:07}")
}

/// The description of a node, as `node format` posts it (P 6.11).
pub(crate) fn format_node(node: &str, partitions: usize) -> Result<Vec<u8>, Failure> {
    Ok(Description::new(partitions)?.of(node))
}

/// Descriptions of nodes that are alike but for their reference.
pub(crate) struct Description {
    before: String,
    after: String,
}

impl Description {
    pub(crate) fn new(partitions: usize) -> Result<Description, Failure> {
        const MARK: &str = "xxxxxxxx";
        let description = Value::dict([
            ("reference", Value::text(MARK)),
            ("address", Value::text("127.0.0.1")),
            ("netmask", Value::text("255.0.0.0")),
            (
                "partition_list",
                Value::List((0..partitions).map(described).collect()),
            ),
        ]);
        let body = form(&[("xml", &document(&description)?)]);
        let (before, after) = body
            .split_once(MARK)
            .ok_or_else(|| Failure::new("the reference is not in the description"))?;
        Ok(Description {
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }

    /// That of one node.
    pub(crate) fn of(&self, node: &str) -> Vec<u8> {
        let node: String = form_urlencoded::byte_serialize(node.as_bytes()).collect();
        post_body(
            "loadComputerConfigurationFromXML",
            &[self.before.as_str(), &node, &self.after].concat(),
        )
    }
}

fn described(number: usize) -> Value {
    Value::dict([
        ("reference", Value::text(partition(number))),
        (
            "address_list",
            Value::List(vec![
                address("127.0.0.1", "255.0.0.0"),
                address("::1", IPV6_NETMASK),
            ]),
        ),
        (
            "tap",
            Value::dict([("name", Value::text(format!("tap{number}")))]),
        ),
    ])
}

const IPV6_NETMASK: &str = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

fn address(address: &str, netmask: &str) -> Value {
    Value::dict([
        ("addr", Value::text(address)),
        ("netmask", Value::text(netmask)),
    ])
}

/// The name of partition number n.
pub(crate) fn partition(number: usize) -> String {
    format!("slappart{number}")
}

/// What an instance publishes.
pub(crate) fn publish(node: &str, number: usize) -> Result<Vec<u8>, Failure> {
    let connection = Value::dict([
        (
            "url",
            Value::text(format!("https://[2001:db8::{number:x}]:8443/")),
        ),
        ("password", Value::text("f41c0d1e9b")),
    ]);
    Ok(post(
        "setComputerPartitionConnectionXml",
        &[
            ("computer_id", node),
            ("computer_partition_id", &partition(number)),
            ("connection_xml", &document(&connection)?),
            ("slave_reference", "None"),
        ],
    ))
}

/// The whole node's document.
pub(crate) fn full_information(node: &str) -> Vec<u8> {
    get("getFullComputerInformation", &[("computer_id", node)])
}

/// One partition's document.
pub(crate) fn register(node: &str, number: usize) -> Vec<u8> {
    get(
        "registerComputerPartition",
        &[
            ("computer_reference", node),
            ("computer_partition_reference", &partition(number)),
        ],
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_filled_template_is_the_request() {
        let template = RequestTemplate::new("COMP-1").unwrap();
        for number in [0, 17, 1_234_567] {
            let mut filled = Vec::new();
            template.fill(number, &mut filled);
            assert_eq!(filled, request("COMP-1", &title(number), RELEASE).unwrap());
        }
    }

    #[test]
    fn a_request_is_what_upstreams_client_sends() {
        let text = String::from_utf8(request("COMP-1", "t", "http://x/s.cfg").unwrap()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /requestComputerPartition HTTP/1.1\r\n"));
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
        assert!(body.starts_with("software_release=http%3A%2F%2Fx%2Fs.cfg&partition_reference=t&"));
        assert!(body.ends_with(
            "&software_type=default&state=%3Cmarshal%3E%3Cnone%2F%3E%3C%2Fmarshal%3E\
             &shared_xml=%3Cmarshal%3E%3Cbool%3E0%3C%2Fbool%3E%3C%2Fmarshal%3E"
        ));
    }
}
