//! The resources in template.yaml.

use yaml_rust2::{Yaml, YamlLoader};

use crate::read;

/// The functions, with their names in the template.
pub fn functions() -> Vec<(String, Yaml)> {
    resources("AWS::Serverless::Function")
}

/// All resources of a type, with their names in the template.
pub fn resources(kind: &str) -> Vec<(String, Yaml)> {
    let template = YamlLoader::load_from_str(&read("template.yaml"))
        .expect("YAML")
        .remove(0);
    let resources = template["Resources"].as_hash().expect("resources");
    resources
        .iter()
        .filter(|(_, resource)| resource["Type"].as_str() == Some(kind))
        .map(|(name, resource)| (name.as_str().expect("a name").to_owned(), resource.clone()))
        .collect()
}

/// The binary of a function.
pub fn binary_of(function: &Yaml) -> String {
    assert_eq!(
        function["Metadata"]["BuildMethod"].as_str(),
        Some("rust-cargolambda"),
        "{function:?}"
    );
    function["Metadata"]["BuildProperties"]["Binary"]
        .as_str()
        .expect("a Binary")
        .to_owned()
}
