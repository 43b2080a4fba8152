//! The dashboard on a Master with all those instances: the pages a person opens, each as a browser
//! gets it.

use std::cell::RefCell;
use std::time::Duration;

use super::master::Master;
use crate::failure::{Context, Failure};
use crate::http::{self, Answer, Load, Outcome};
use crate::stats::percentile;
use crate::{say, wire};

/// How often each page is opened.
const VISITS: usize = 50;
/// Some page costs much on a Master that does something wrong: this ends it.
const TIME: Duration = Duration::from_secs(20);
const PASSWORD: &str = "a password of the benchmark's";

/// A page, and what it took.
pub(super) struct Page {
    pub(super) path: String,
    pub(super) outcome: Outcome,
}

impl Page {
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.outcome.latencies, percent)
    }
}

/// Opens the pages as the first administrator, whose services all instances are.
pub(super) fn visit(master: &Master) -> Result<Vec<Page>, Failure> {
    let cookie = sign_in(master)?;
    let some = wire::title(77);
    let paths: [(&str, &[(&str, &str)]); 9] = [
        ("", &[]),
        ("services", &[]),
        ("services", &[("page", "100")]),
        ("services", &[("q", &some)]),
        ("services", &[("state", "failing")]),
        ("services/HOSTSUBS-1", &[]),
        ("services/HOSTSUBS-1/events", &[]),
        ("servers", &[]),
        ("servers", &[("page", "10")]),
    ];
    let mut pages = Vec::new();
    for (path, fields) in paths {
        let request = wire::with_header(&wire::get(path, fields), "Cookie", &cookie);
        let outcome = http::run(&Load {
            address: master.address,
            connections: 1,
            count: VISITS,
            time: TIME,
            pace: None,
            request: &|_, to| to.extend_from_slice(&request),
            judge: &http::expect("</html>"),
        })?;
        let shown: Vec<String> = fields
            .iter()
            .map(|(name, text)| format!("{name}={text}"))
            .collect();
        let path = match shown.join("&").as_str() {
            "" => path.to_owned(),
            query => format!("{path}?{query}"),
        };
        let page = Page { path, outcome };
        say(&format!(
            "page /{:<32} p50 {:>9.2?}, p99 {:>9.2?}, {:.1} kB",
            page.path,
            page.percentile(50),
            page.percentile(99),
            page.outcome.mean_body() / 1000.0
        ));
        pages.push(page);
    }
    Ok(pages)
}

/// Sets the first administrator's password by the link of the first start; the browser's cookie.
fn sign_in(master: &Master) -> Result<String, Failure> {
    let fields = [
        ("token", master.password_token.as_str()),
        ("password", PASSWORD),
        ("again", PASSWORD),
    ];
    let request = wire::post("password", &fields);
    let cookie = RefCell::new(None);
    let judge = |_: usize, answer: &Answer<'_>| {
        answer.expect(303, "")?;
        let set = answer.header("set-cookie").unwrap_or_default();
        *cookie.borrow_mut() = set.split(';').next().map(str::to_owned);
        Ok(())
    };
    http::run(&Load {
        address: master.address,
        connections: 1,
        count: 1,
        time: TIME,
        pace: None,
        request: &|_, to| to.extend_from_slice(&request),
        judge: &judge,
    })
    .context("signing in")?;
    let cookie = cookie.into_inner().filter(|cookie| !cookie.is_empty());
    cookie.ok_or_else(|| Failure::new("signing in gave no cookie"))
}
