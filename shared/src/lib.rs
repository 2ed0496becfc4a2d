//! What the functions of the todo backend have in common.
//!
//! A function is one route: a handler and a `main` that calls [`serve`]. Everything a second route would need stands
//! here: settings, the database, who is calling, users and tasks with their rules and their SQL, and the shapes of
//! requests and replies.

mod app;
pub mod auth;
pub mod database;
pub mod deadlines;
mod error;
pub mod http;
mod job;
pub mod settings;
pub mod tasks;
pub mod telemetry;
mod timestamp;
pub mod users;
pub mod validation;

pub use app::App;
pub use error::{Cause, Error};
pub use http::{Reply, Request, serve, serve_lazily};
pub use job::{serve_events, serve_job};
