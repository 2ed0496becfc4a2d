//! HTTP as the functions speak it: requests, replies, errors, the access log, and the [`serve()`] that every main calls.

mod access_log;
pub mod app;
mod client_address;
pub mod conditional;
pub mod error;
mod metrics;
pub mod reply;
pub mod request;
mod serve;

pub use app::App;
pub use error::Error;
pub use reply::Reply;
pub use request::Request;
pub use serve::{serve, serve_lazily, serve_without_settings};
