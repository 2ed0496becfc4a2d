//! Checks that files of the project agree with each other. They need no database.

mod certificates;
mod checklists;
mod documents;
mod files;
mod layers;
mod markdown;
mod openapi;
mod routes;
mod rust;
mod template;
mod transformed_template;
mod workspace;
