//! What is the same for everyone until the next deployment. The build made it, and compressed it: see build.rs.

use std::io::Read as _;

use flate2::read::GzDecoder;
use shared::{Reply, Request};

/// The OpenAPI document: openapi.yaml as JSON.
pub(crate) const OPENAPI: Document = Document {
    gzip: include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.gz")),
    etag: env!("OPENAPI_ETAG"),
    headers: &[("content-type", "application/json")],
};

/// Swagger UI over that document.
pub(crate) const PAGE: Document = Document {
    gzip: include_bytes!(concat!(env!("OUT_DIR"), "/page.html.gz")),
    etag: env!("PAGE_ETAG"),
    headers: &[
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", env!("PAGE_CSP")),
        ("referrer-policy", "no-referrer"),
    ],
};

/// A document.
pub(crate) struct Document {
    gzip: &'static [u8],
    etag: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

impl Document {
    /// The document, as it is or compressed; or nothing, where the client has it already.
    pub(crate) fn reply_to(&self, request: &Request) -> Reply {
        let known = request.header("if-none-match").unwrap_or_default();
        let mut reply = if known.split(',').any(|etag| etag.trim() == self.etag) {
            Reply::not_modified()
        } else if accepts_gzip(request.header("accept-encoding").unwrap_or_default()) {
            Reply::bytes(self.gzip.to_vec()).with_header("content-encoding", "gzip")
        } else {
            Reply::bytes(self.decompressed())
        };
        for (name, value) in self.headers {
            reply = reply.with_header(name, value);
        }
        reply
            .with_header("etag", self.etag)
            // To be kept, but asked about every time: the next deployment may have another.
            .with_header("cache-control", "no-cache")
            .with_header("vary", "accept-encoding")
    }

    fn decompressed(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        GzDecoder::new(self.gzip)
            .read_to_end(&mut bytes)
            .expect("what the build compressed");
        bytes
    }
}

/// Whether an `Accept-Encoding` names gzip, and not with a weight of zero (RFC 9110, 12.5.3).
fn accepts_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").map(str::parse::<f32>);
        name.trim().eq_ignore_ascii_case("gzip")
            && matches!(weight, Some(Ok(weight)) if weight > 0.0)
    })
}
