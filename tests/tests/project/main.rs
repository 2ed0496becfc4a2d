//! Checks that files of the project agree with each other. They need no database.

mod certificates;
mod checklists;
mod documents;
mod env_file;
mod files;
mod layers;
mod markdown;
mod migrations;
mod openapi;
mod routes;
mod rust;
mod smoke_test;
mod template;
mod transformed_template;
mod workspace;
