//! The API over HTTP, wherever it is deployed. Where `DATABASE_URL` is set, the tests also see that what was answered is
//! what is stored.

mod account;
mod auth;
mod docs;
mod paths;
mod tasks;
mod tokens;
mod welcome;
