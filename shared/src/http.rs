//! HTTP as the functions speak it: requests, replies, and the `serve` that every main calls.

pub mod reply;
mod request;
mod serve;

pub use reply::Reply;
pub use request::Request;
pub use serve::{serve, serve_lazily};
