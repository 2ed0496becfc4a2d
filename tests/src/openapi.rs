//! The operations that openapi.yaml describes.

use yaml_rust2::{Yaml, YamlLoader};

use crate::read;

const METHODS: [&str; 6] = ["get", "head", "put", "post", "delete", "patch"];

/// One method of one path.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The binary that serves it: the extension `x-function`.
    pub function: String,
    /// The HTTP method, in upper case.
    pub method: String,
    /// The path, such as `/api/{user_id}/tasks`.
    pub path: String,
    /// The status of a successful response.
    pub success_status: u64,
    /// Whether the request must have a token.
    pub needs_token: bool,
}

/// All operations, in the order of the document.
pub fn operations() -> Vec<Operation> {
    let document = YamlLoader::load_from_str(&read("openapi.yaml"))
        .expect("YAML")
        .remove(0);
    let paths = document["paths"].as_hash().expect("paths");
    let mut operations = Vec::new();
    for (path, item) in paths {
        let path = path.as_str().expect("a path");
        for (method, operation) in item.as_hash().expect("a path item") {
            let method = method.as_str().expect("a key");
            if METHODS.contains(&method) {
                operations.push(Operation::from_yaml(method, path, operation));
            }
        }
    }
    operations
}

/// The binaries that serve a route. Each is listed once.
pub fn functions() -> Vec<String> {
    let mut functions = Vec::new();
    for operation in operations() {
        if !functions.contains(&operation.function) {
            functions.push(operation.function);
        }
    }
    functions
}

impl Operation {
    fn from_yaml(method: &str, path: &str, operation: &Yaml) -> Self {
        let method = method.to_uppercase();
        let function = operation["x-function"]
            .as_str()
            .unwrap_or_else(|| panic!("openapi.yaml: {method} {path} has no x-function"));
        let statuses = operation["responses"].as_hash().expect("responses").keys();
        let success_status = statuses
            .filter_map(|status| status.as_str()?.parse().ok())
            .find(|status| (200..300).contains(status))
            .unwrap_or_else(|| panic!("openapi.yaml: {method} {path} has no 2xx response"));
        // Without a `security` of its own, an operation has that of the document, which asks for a token.
        let needs_token = operation["security"]
            .as_vec()
            .is_none_or(|schemes| !schemes.is_empty());
        Self {
            function: function.to_owned(),
            method,
            path: path.to_owned(),
            success_status,
            needs_token,
        }
    }
}
