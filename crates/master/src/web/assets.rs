//! How the pages look and the little that they do in the browser: embedded, under names that tell
//! their content, so that browsers keep them for ever.

use std::sync::{Arc, LazyLock};

use axum::http::{StatusCode, header};
use axum::response::Response;
use slap_server::Problem;

use crate::api::endpoint::{Endpoint, handler};
use crate::api::{Api, App, Call, reply};
use crate::pki;

pub(super) const ENDPOINTS: &[Endpoint] =
    &[Endpoint::get(Api::Web, "assets/{file}", handler!(asset)).public()];

/// A file the pages need.
pub(super) struct Asset {
    /// What it is called without its content in its name.
    pub(super) name: String,
    /// Its place from the root of this Master.
    pub(super) path: String,
    content_type: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(name: &str, ending: &str, content_type: &'static str, text: &'static str) -> Self {
        let sum = pki::token_hash(text);
        let short = sum.get(..12).unwrap_or_default();
        Asset {
            name: format!("{name}.{ending}"),
            path: format!("assets/{name}-{short}.{ending}"),
            content_type,
            text,
        }
    }
}

/// The files the pages need.
pub(super) struct Assets {
    pub(super) style: Asset,
    pub(super) script: Asset,
    pub(super) mark: Asset,
}

#[cfg(test)]
impl Asset {
    /// What is in it.
    pub(super) fn text(&self) -> &str {
        self.text
    }
}

impl Assets {
    /// The bytes of all of them.
    #[cfg(test)]
    pub(super) fn weight(&self) -> usize {
        let assets = [&self.style, &self.script, &self.mark];
        assets.iter().map(|asset| asset.text.len()).sum()
    }
}

pub(super) static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: Asset::new(
        "style",
        "css",
        "text/css; charset=utf-8",
        include_str!("assets/style.css"),
    ),
    script: Asset::new(
        "app",
        "js",
        "text/javascript; charset=utf-8",
        include_str!("assets/app.js"),
    ),
    mark: Asset::new(
        "mark",
        "svg",
        "image/svg+xml",
        include_str!("assets/mark.svg"),
    ),
});

async fn asset(_app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let assets = &*ASSETS;
    let asset = [&assets.style, &assets.script, &assets.mark]
        .into_iter()
        .find(|asset| asset.path == call.path)
        .ok_or_else(Problem::no_such_page)?;
    let mut response = reply::with(StatusCode::OK, asset.content_type, asset.text);
    reply::set(
        &mut response,
        header::CACHE_CONTROL,
        "public, max-age=31536000, immutable",
    );
    reply::set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a page weighs is mostly this, in bytes.
    const STYLE_MAX: usize = 24 << 10;
    const SCRIPT_MAX: usize = 8 << 10;

    #[test]
    fn the_assets_are_small() {
        assert!(ASSETS.style.text.len() < STYLE_MAX);
        assert!(ASSETS.script.text.len() < SCRIPT_MAX);
    }
}
