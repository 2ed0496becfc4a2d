//! What is the same for everyone until the next deployment. The build made it, and compressed it: see build.rs.

use std::io::Read as _;

use flate2::read::GzDecoder;
use shared::http::conditional::EntityTag;
use shared::{Reply, Request};

/// The OpenAPI document: openapi.yaml as JSON. It is small, and read by programs that unpack nothing, such as curl.
pub(crate) const OPENAPI: Document = Document {
    is_compressed_by_default: false,
    gzip: include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.gz")),
    opaque: env!("OPENAPI_OPAQUE_TAG"),
    etag: concat!("W/\"", env!("OPENAPI_OPAQUE_TAG"), "\""),
    headers: &[("content-type", "application/json")],
};

/// Swagger UI over that document: 1.7 MB that browsers read, which unpack it.
pub(crate) const PAGE: Document = Document {
    is_compressed_by_default: true,
    gzip: include_bytes!(concat!(env!("OUT_DIR"), "/page.html.gz")),
    opaque: env!("PAGE_OPAQUE_TAG"),
    etag: concat!("W/\"", env!("PAGE_OPAQUE_TAG"), "\""),
    headers: &[
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", env!("PAGE_CSP")),
        ("referrer-policy", "no-referrer"),
    ],
};

/// A document.
pub(crate) struct Document {
    is_compressed_by_default: bool,
    gzip: &'static [u8],
    /// The opaque text of its entity tag.
    opaque: &'static str,
    /// That entity tag: a weak one, since the document has it both as it is and compressed.
    etag: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

impl Document {
    /// The document, as it is or compressed; or nothing, where the client has it already.
    pub(crate) fn reply_to(&self, request: &Request) -> Reply {
        // A header that cannot be read names nothing that the client has.
        let is_known = request
            .if_none_match()
            .is_ok_and(|known| known.contain(&EntityTag::new(self.opaque)));
        let mut reply = if is_known {
            Reply::not_modified()
        } else if request
            .header_text("accept-encoding")
            .map_or(self.is_compressed_by_default, |accepted| {
                accepts_gzip(&accepted)
            })
        {
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

/// Whether an `Accept-Encoding` accepts gzip, by its name or by `*`, and not with a weight of zero (RFC 9110, 12.5.3). One
/// that names only others, or is empty, asks for the document as it is.
fn accepts_gzip(accepted: &str) -> bool {
    let weight_of = |wanted: &[&str]| {
        accepted.split(',').find_map(|coding| {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            let is_wanted = wanted
                .iter()
                .any(|wanted| name.trim().eq_ignore_ascii_case(wanted));
            is_wanted.then(|| weight(parameters))
        })
    };
    weight_of(&["gzip", "x-gzip"])
        .or_else(|| weight_of(&["*"]))
        .is_some_and(|weight| weight > 0.0)
}

/// The weight of a coding: 1 without one, and 0 for one that cannot be read.
fn weight(parameters: &str) -> f32 {
    match parameters.trim().split_once('=') {
        None => 1.0,
        Some((name, value)) if name.trim().eq_ignore_ascii_case("q") => {
            value.trim().parse().unwrap_or(0.0)
        }
        Some(_) => 0.0,
    }
}
