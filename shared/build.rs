//! Finds the number of the newest migration in `sql/`, which is the schema version that this build needs, and the paths in
//! `openapi.yaml`.

use std::error::Error;
use std::fs;

const MIGRATIONS: &str = "../sql";
const DOCUMENT: &str = "../openapi.yaml";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={MIGRATIONS}");
    let mut newest = 0;
    for file in fs::read_dir(MIGRATIONS)? {
        let name = file?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix('V')?.split_once("__"));
        if let Some((number, _)) = number {
            newest = newest.max(number.parse::<i32>()?);
        }
    }
    println!("cargo::rustc-env=SCHEMA_VERSION={newest}");

    println!("cargo::rerun-if-changed={DOCUMENT}");
    let document: yaml_serde::Value = yaml_serde::from_str(&fs::read_to_string(DOCUMENT)?)?;
    let paths = document["paths"].as_mapping().ok_or("no paths")?.keys();
    let paths: Vec<_> = paths.filter_map(yaml_serde::Value::as_str).collect();
    println!("cargo::rustc-env=PATHS={}", paths.join(" "));
    Ok(())
}
