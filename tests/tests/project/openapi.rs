//! What openapi.yaml says about an operation in addition to [`tests::openapi`].

use tests::openapi::Operation;
use tests::read;
use yaml_rust2::{Yaml, YamlLoader};

/// The content of openapi.yaml.
pub(crate) fn document() -> Yaml {
    let mut documents = YamlLoader::load_from_str(&read("openapi.yaml")).expect("YAML");
    documents.remove(0)
}

fn member(operation: &Operation, name: &str) -> Yaml {
    let method = operation.method.to_lowercase();
    document()["paths"][operation.path.as_str()][method.as_str()][name].clone()
}

/// The summary of an operation.
pub(crate) fn summary(operation: &Operation) -> String {
    let summary = member(operation, "summary").into_string();
    summary.unwrap_or_else(|| panic!("openapi.yaml: {} has no summary", operation.path))
}

/// Whether an operation can answer 429.
pub(crate) fn is_rate_limited(operation: &Operation) -> bool {
    !member(operation, "responses")["429"].is_badvalue()
}
