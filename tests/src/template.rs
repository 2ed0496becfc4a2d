//! The resources in template.yaml, as they are written and as SAM transforms them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use crate::read;

/// The functions, with their names in the template.
pub fn functions() -> Vec<(String, Yaml)> {
    resources("AWS::Serverless::Function")
}

/// A section of the template, such as `Parameters`.
pub fn section(name: &str) -> Yaml {
    let template = YamlLoader::load_from_str(&read("template.yaml"));
    template.expect("YAML").remove(0)[name].clone()
}

/// All resources of a type, with their names in the template.
pub fn resources(kind: &str) -> Vec<(String, Yaml)> {
    let resources = section("Resources");
    let resources = resources.as_hash().expect("resources");
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

/// Transforms a template as CloudFormation does, without an account. SAM's own loader reads it, and managed policies,
/// which would be looked up, are not used.
const TRANSFORM: &str = "
import json, sys
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform
class NoPolicies:
    def load(self):
        return {}
print(json.dumps(transform(yaml_parse(sys.stdin.read()), {}, NoPolicies())))";

/// The text of template.yaml, with the locations to which `sam deploy` uploads the code and the certificates.
pub fn packaged() -> String {
    let template = read("template.yaml");
    let replacements = [
        ("CodeUri: .\n", "CodeUri: s3://bucket/code\n"),
        (
            "ContentUri: certificates\n",
            "ContentUri: s3://bucket/certificates\n",
        ),
    ];
    replacements.iter().fold(template, |template, (from, to)| {
        assert_eq!(template.matches(from).count(), 1, "{from}");
        template.replace(from, to)
    })
}

/// What CloudFormation makes of a packaged template.
pub fn transform(template: &str) -> Value {
    let python = std::env::var_os("SAM_PYTHON").expect("SAM_PYTHON; run `./dev test project`");
    let mut process = Command::new(python)
        .args(["-c", TRANSFORM])
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("SAM's Python");
    let mut input = process.stdin.take().expect("a pipe");
    input.write_all(template.as_bytes()).expect("a reader");
    drop(input);
    let output = process.wait_with_output().expect("an output");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}
