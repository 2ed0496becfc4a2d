//! What the functions of the todo backend have in common.
//!
//! A function is one route: a handler, and a `main` that calls [`serve`]. Everything that a second route would need is
//! here, in layers: [`accounts`] and [`tasks`] do the work, [`http`] speaks to the client, [`auth`] knows who is calling,
//! and [`database`] runs the statements. A module imports only from the layers below its own; a test checks that.

pub mod accounts;
pub mod auth;
mod cause;
pub mod config_errors;
pub mod database;
pub mod http;
mod job;
pub mod setting_text;
pub mod settings;
pub mod tasks;
pub mod telemetry;
pub mod timeouts;
mod timestamp;
pub mod validation;

pub use cause::Cause;
pub use http::{App, Error, Reply, Request, serve, serve_lazily, serve_without_settings};
pub use job::{serve_events, serve_job};
