//! Reads openapi.yaml, which is the list of the routes.

use std::collections::BTreeSet;

use tests::read;
use yaml_rust2::{Yaml, YamlLoader};

/// A method of a path.
pub(crate) struct Operation {
    /// In capital letters.
    pub(crate) method: String,
    pub(crate) path: String,
    /// The binary that serves it: the extension `x-function`.
    pub(crate) function: String,
    pub(crate) summary: String,
    /// Its tag.
    pub(crate) tag: String,
    /// Whether it can answer 429.
    pub(crate) is_rate_limited: bool,
}

impl Operation {
    fn from_yaml(method: &str, path: &str, operation: &Yaml) -> Self {
        let method = method.to_uppercase();
        let text = |value: &Yaml, name: &str| {
            let text = value.as_str();
            text.unwrap_or_else(|| panic!("openapi.yaml: {method} {path} has no {name}"))
                .to_owned()
        };
        Self {
            function: text(&operation["x-function"], "x-function (the binary's name)"),
            summary: text(&operation["summary"], "summary"),
            tag: text(&operation["tags"][0], "tag"),
            is_rate_limited: !operation["responses"]["429"].is_badvalue(),
            path: path.to_owned(),
            method,
        }
    }
}

/// The content of openapi.yaml.
pub(crate) fn document() -> Yaml {
    let mut documents = YamlLoader::load_from_str(&read("openapi.yaml")).expect("YAML");
    documents.remove(0)
}

/// All operations, in the order of openapi.yaml.
pub(crate) fn operations() -> Vec<Operation> {
    const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];
    let document = document();
    let paths = document["paths"].as_hash().expect("paths");
    let mut operations = Vec::new();
    for (path, item) in paths {
        let path = path.as_str().expect("a path");
        for (method, operation) in item.as_hash().expect("an object") {
            let method = method.as_str().expect("a key");
            if METHODS.contains(&method) {
                operations.push(Operation::from_yaml(method, path, operation));
            }
        }
    }
    operations
}

/// The binaries that have a route.
pub(crate) fn routed_functions() -> BTreeSet<String> {
    let operations = operations().into_iter();
    operations.map(|operation| operation.function).collect()
}
