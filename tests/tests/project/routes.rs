//! openapi.yaml is the list of routes. Everything else that lists routes agrees with it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use tests::openapi::{functions, operations};
use tests::{read, root, template};

use crate::files::{assert_no_problems, toml};
use crate::openapi::summary;

/// A route: its method, its path, and the binary that serves it.
type Route = (String, String, String);

const BEGIN: &str =
    "<!-- routes: generated from openapi.yaml by ./dev test project; do not edit -->\n";
const END: &str = "<!-- end of routes -->\n";

/// The names of the binaries.
pub(crate) fn binaries() -> BTreeSet<String> {
    let folder = root().join("functions/src/bin");
    let names = std::fs::read_dir(folder).expect("a folder").map(|file| {
        let path = file.expect("a file").path();
        let name = path.file_stem().and_then(|name| name.to_str());
        name.expect("a name").to_owned()
    });
    names.collect()
}

/// Compares the routes that a file lists with those of openapi.yaml.
#[track_caller]
fn assert_routes_of_openapi(file: &str, routes: &BTreeSet<Route>) {
    let operations = operations().into_iter();
    let expected: BTreeSet<Route> = operations
        .map(|operation| (operation.method, operation.path, operation.function))
        .collect();
    let mut problems = Vec::new();
    for route @ (method, path, function) in expected.symmetric_difference(routes) {
        let problem = if routes.contains(route) {
            "is not in openapi.yaml"
        } else {
            "is missing"
        };
        problems.push(format!("{file}: {method} {path} of `{function}` {problem}"));
    }
    assert_no_problems(&problems);
}

/// The routes of `cargo lambda watch`, from Cargo.toml.
pub(crate) fn local_router_routes() -> BTreeSet<Route> {
    let manifest = toml("Cargo.toml");
    let table = &manifest["workspace"]["metadata"]["lambda"]["watch"]["router"];
    let mut routes = BTreeSet::new();
    for (path, targets) in table.as_table().expect("a table") {
        for target in targets.as_array().expect("a list") {
            let text = |name: &str| target[name].as_str().expect("a text").to_owned();
            routes.insert((text("method"), path.clone(), text("function")));
        }
    }
    routes
}

fn template_routes() -> BTreeSet<Route> {
    let mut routes = BTreeSet::new();
    for (name, function) in template::functions() {
        let Some(events) = function["Properties"]["Events"].as_hash() else {
            continue;
        };
        let events = events.values();
        for event in events.filter(|event| event["Type"].as_str() == Some("HttpApi")) {
            let properties = &event["Properties"];
            let text = |name: &str| properties[name].as_str().expect("a text").to_owned();
            let method = text("Method").to_uppercase();
            let is_new = routes.insert((method, text("Path"), template::binary_of(&function)));
            assert!(is_new, "template.yaml: {name} has a route twice");
        }
    }
    routes
}

/// The README's table: one row per function, in the order of openapi.yaml.
fn readme_table() -> String {
    let operations = operations();
    let mut table = "| function | route | |\n|---|---|---|\n".to_owned();
    for function in functions() {
        let operations: Vec<_> = operations
            .iter()
            .filter(|operation| operation.function == function)
            .collect();
        let routes: Vec<_> = operations
            .iter()
            .map(|operation| format!("{} `{}`", operation.method, operation.path))
            .collect();
        let (routes, summary) = (routes.join(", "), summary(operations[0]));
        writeln!(table, "| `{function}` | {routes} | {summary} |").expect("memory");
    }
    table
}

#[test]
fn the_local_router_has_the_routes_of_openapi_yaml() {
    assert_routes_of_openapi("Cargo.toml", &local_router_routes());
}

#[test]
fn the_template_has_the_routes_of_openapi_yaml() {
    assert_routes_of_openapi("template.yaml", &template_routes());
}

#[test]
fn the_readme_has_the_table_of_routes() {
    let readme = read("README.md");
    let parts = readme.split_once(BEGIN).and_then(|(before, rest)| {
        let (table, after) = rest.split_once(END)?;
        Some((before, table, after))
    });
    let Some((before, table, after)) = parts else {
        panic!("README.md: the lines around the table of routes are missing:\n{BEGIN}{END}");
    };
    let expected = readme_table();
    if table == expected {
        return;
    }
    assert_eq!(
        std::env::var("UPDATE_GENERATED").as_deref(),
        Ok("1"),
        "README.md: the table of routes is out of date. Run: UPDATE_GENERATED=1 ./dev test project"
    );
    let readme = [before, BEGIN, &expected, END, after].concat();
    std::fs::write(root().join("README.md"), readme).expect("README.md");
}

#[test]
fn every_binary_is_deployed() {
    let functions = template::functions();
    let deployed: BTreeSet<_> = functions
        .iter()
        .map(|(_, function)| template::binary_of(function))
        .collect();
    assert_eq!(deployed, binaries());
}

#[test]
fn only_two_binaries_have_no_route() {
    let routed = BTreeSet::from_iter(functions());
    let unknown: Vec<_> = routed.difference(&binaries()).cloned().collect();
    assert!(unknown.is_empty(), "openapi.yaml names {unknown:?}");
    let without_route: Vec<_> = binaries().difference(&routed).cloned().collect();
    assert_eq!(without_route, ["migrate", "purge-sessions"]);
}
