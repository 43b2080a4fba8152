//! The JSON calls that only our Masters answer: what the legacy API and the documents do not tell.

use serde_json::{Value as Json, json};

use crate::error::Error;
use crate::slap_api::Client;
use crate::transport::Post;

/// A product of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// The name it is asked for by.
    pub reference: String,
    /// Its title.
    pub title: String,
    /// Its project, where the Master has projects.
    pub project: Option<String>,
    /// The URLs of its releases, the best first.
    pub releases: Vec<String>,
}

impl Client {
    /// Makes a JSON call. `None` when the Master does not have it.
    ///
    /// # Errors
    /// As any call.
    pub fn json(&self, method: &str, input: &Json) -> Result<Option<Json>, Error> {
        let post = Post {
            body: &input.to_string(),
            content_type: "application/json",
            authorization: None,
            token: None,
        };
        let url = format!("{}{method}", self.transport.base);
        let text = match self.transport.post(&url, method, &post) {
            Ok(text) => text,
            // No such page, or a method that page does not take: upstream's Masters say either.
            Err(Error::NotFound { .. } | Error::Refused { status: 405, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| Error::Reply {
                what: method.to_owned(),
                reason: error.to_string(),
            })
    }

    /// Whether the Master keeps what a request leaves out. Upstream's overwrite it.
    ///
    /// # Errors
    /// As any call.
    pub fn keeps_omitted(&self) -> Result<bool, Error> {
        let told = self.json("slapos.get.v0.hateoas_url", &json!({}))?;
        Ok(told.is_some_and(|told| told["keeps_omitted"] == true))
    }

    /// The software products one may use. `None` where the Master does not list them.
    ///
    /// # Errors
    /// As any call.
    pub fn products(&self) -> Result<Option<Vec<Product>>, Error> {
        let method = "slapos.allDocs.v0.software_product_list";
        let Some(answer) = self.json(method, &json!({}))? else {
            return Ok(None);
        };
        let list = answer["result_list"]
            .as_array()
            .ok_or_else(|| Error::Reply {
                what: method.to_owned(),
                reason: "it has no `result_list`".to_owned(),
            })?;
        Ok(Some(list.iter().map(product).collect()))
    }
}

fn product(entry: &Json) -> Product {
    let text = |name: &str| entry[name].as_str().map(str::to_owned);
    let releases = entry["software_release_uri_list"].as_array();
    Product {
        reference: text("product_reference").unwrap_or_default(),
        title: text("title").unwrap_or_default(),
        project: text("project_guid"),
        releases: releases
            .into_iter()
            .flatten()
            .filter_map(|url| url.as_str().map(str::to_owned))
            .collect(),
    }
}
