//! Checklists for what has to be changed in several files at once. Each failure names the file that was forgotten.

use std::collections::{BTreeMap, BTreeSet};

use syn::Item;
use tests::openapi::functions;
use tests::{read, template};

use crate::files::{assert_no_problems, try_read};
use crate::openapi::document;
use crate::routes::{binaries, local_router_routes};
use crate::rust::parse;

#[test]
fn a_new_route_is_in_every_file_that_lists_routes() {
    let binaries = binaries();
    let template: BTreeSet<_> = template::functions()
        .iter()
        .map(|(_, function)| template::binary_of(function))
        .collect();
    let router: BTreeSet<_> = local_router_routes()
        .into_iter()
        .map(|(_, _, function)| function)
        .collect();
    let cases = read("tests/src/routes.rs");
    let mut problems = BTreeSet::new();
    for function in functions() {
        let mut require = |is_there: bool, message: &str| {
            if !is_there {
                problems.insert(format!("`{function}`: {message}"));
            }
        };
        require(
            binaries.contains(&function),
            "add the binary to functions/src/bin, or correct x-function in openapi.yaml",
        );
        require(
            template.contains(&function),
            "add the function to template.yaml",
        );
        require(
            router.contains(&function),
            "add the route to Cargo.toml, [workspace.metadata.lambda.watch.router]",
        );
        require(
            cases.contains(&format!("\"{function}\"")),
            "add the function to tests/src/routes.rs",
        );
    }
    assert_no_problems(&Vec::from_iter(problems));
}

const OPENAPI: &str = "openapi.yaml, schema Task";
const STRUCT: &str = "shared/src/tasks/fields.rs, struct Task";
const CATALOG: &str = "sql/catalog.txt, table task (add a migration, then run ./dev catalog)";
const API: &str = "docs/api.md, the line that begins with `task`";

/// Columns that no answer shows.
const HIDDEN_COLUMNS: [&str; 3] = ["version", "creation_key", "creation_hash"];

type Fields = BTreeSet<String>;

fn openapi_fields() -> Fields {
    let document = document();
    let task = &document["components"]["schemas"]["Task"];
    let properties = task["properties"].as_hash().expect("properties");
    let names = properties.keys().filter_map(|name| name.as_str());
    names.map(str::to_owned).collect()
}

/// The fields of `struct Task`.
fn struct_fields(source: &str) -> Fields {
    let items = parse(STRUCT, source).items.into_iter();
    let task = items.filter_map(|item| match item {
        Item::Struct(item) if item.ident == "Task" => Some(item.fields),
        _ => None,
    });
    let names = task.flatten().filter_map(|field| field.ident);
    names.map(|name| name.to_string()).collect()
}

/// The columns of the table task, from lines `task<TAB>column <name><TAB>…`.
fn columns(catalog: &str) -> Fields {
    let columns = catalog.lines().filter_map(|line| {
        let mut parts = line.split('\t');
        let is_task = parts.next() == Some("task");
        let column = parts.next()?.strip_prefix("column ")?;
        is_task.then(|| column.to_owned())
    });
    columns.collect()
}

/// The keys in `task {"id":int,"user_id":int,"title",…}`, which may take several lines.
fn documented_keys(document: &str) -> Fields {
    let start = document
        .match_indices("\ntask")
        .map(|(index, _)| &document[index + "\ntask".len()..])
        .find(|rest| rest.trim_start().starts_with('{'));
    let object = start.and_then(|rest| {
        let (_, rest) = rest.split_once('{')?;
        Some(rest.split_once('}')?.0)
    });
    let members = object.unwrap_or_default().split(',');
    members
        .map(|member| {
            let key = member.split(':').next().unwrap_or_default();
            key.trim().trim_matches('"').to_owned()
        })
        .filter(|key| !key.is_empty())
        .collect()
}

/// The fields that a place lacks, with the place.
fn missing_fields(places: &BTreeMap<&str, Fields>) -> Vec<String> {
    let hidden = |name: &&String| HIDDEN_COLUMNS.contains(&name.as_str());
    let all: BTreeSet<_> = places
        .iter()
        .flat_map(|(place, fields)| {
            fields
                .iter()
                .filter(move |name| *place != CATALOG || !hidden(name))
        })
        .collect();
    let mut problems = Vec::new();
    for (place, fields) in places {
        let missing = all.iter().filter(|name| !fields.contains(**name));
        problems.extend(missing.map(|name| format!("`{name}` is missing in {place}")));
    }
    problems
}

#[test]
fn a_field_of_a_task_is_in_every_file_that_lists_them() {
    let mut problems = Vec::new();
    let mut places = BTreeMap::from([(OPENAPI, openapi_fields())]);
    let parsers: [fn(&str) -> Fields; 3] = [struct_fields, columns, documented_keys];
    for (place, parse) in [STRUCT, CATALOG, API].into_iter().zip(parsers) {
        let path = place.split(',').next().unwrap_or_default();
        match try_read(path) {
            Ok(content) => {
                places.insert(place, parse(&content));
            }
            Err(missing) => problems.push(missing),
        }
    }
    problems.extend(missing_fields(&places));
    assert_no_problems(&problems);
}

fn fields<const N: usize>(names: [&str; N]) -> Fields {
    names.map(str::to_owned).into()
}

#[test]
fn the_fields_are_read_from_the_catalog_and_the_documentation() {
    let catalog = "task\tcolumn id\tinteger\ntask\tindex no\t\nuser\tcolumn no\ttext\ntask\tcolumn title\ttext";
    assert_eq!(columns(catalog), fields(["id", "title"]));
    let document = "tasks\n\ntask   {\"id\":int,\"title\",\n        \"tags\"}   this order\n";
    assert_eq!(documented_keys(document), fields(["id", "title", "tags"]));
}

#[test]
fn a_forgotten_field_is_reported_with_its_place() {
    let mut places = BTreeMap::from([
        (OPENAPI, fields(["id", "colour"])),
        (CATALOG, fields(["id", "version", "colour"])),
        (STRUCT, fields(["id", "colour"])),
    ]);
    assert_eq!(missing_fields(&places), [""; 0]);
    places.insert(STRUCT, fields(["id"]));
    assert_eq!(
        missing_fields(&places),
        [format!("`colour` is missing in {STRUCT}")]
    );
    places.insert(OPENAPI, fields(["id", "version"]));
    assert_eq!(missing_fields(&places).len(), 3);
}
