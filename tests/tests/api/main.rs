//! The API over HTTP, on any deployment. If `DATABASE_URL` is set, the tests also compare the responses with what is
//! stored.

mod account;
mod auth;
mod conditional_requests;
mod docs;
mod idempotent_creation;
mod paths;
mod sessions;
mod task_queries;
mod tasks;
mod tokens;
mod welcome;
