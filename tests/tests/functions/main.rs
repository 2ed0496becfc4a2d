//! Single functions: the real binaries under a Lambda runtime, and outside of one.

mod connections;
mod events;
mod files;
mod migrations;
mod start;
