//! Rules for the Cargo workspace.

use std::collections::BTreeSet;
use std::path::Path;

use crate::files::{project_files, toml};

/// The folders of the workspace's packages.
fn packages() -> Vec<String> {
    toml("Cargo.toml")["workspace"]["members"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|member| member.as_str().expect("a folder").to_owned())
        .collect()
}

#[test]
fn dependencies_inherit_versions_and_none_is_unused() {
    let mut used = BTreeSet::new();
    for package in packages() {
        let manifest = toml(&format!("{package}/Cargo.toml"));
        let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
        let tables = tables
            .iter()
            .filter_map(|kind| manifest.get(*kind)?.as_table());
        for (name, dependency) in tables.flatten() {
            let inherits = dependency.get("workspace").and_then(toml::Value::as_bool);
            assert_eq!(inherits, Some(true), "{package}: {name}");
            used.insert(name.clone());
        }
    }
    let manifest = toml("Cargo.toml");
    let table = manifest["workspace"]["dependencies"].as_table();
    let listed: BTreeSet<_> = table.expect("dependencies").keys().cloned().collect();
    assert_eq!(used, listed);
}

#[test]
fn every_package_forbids_unsafe_code() {
    let lints = &toml("Cargo.toml")["workspace"]["lints"];
    assert_eq!(lints["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for package in packages() {
        let manifest = toml(&format!("{package}/Cargo.toml"));
        let inherits = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(toml::Value::as_bool);
        assert_eq!(inherits, Some(true), "{package}");
    }
}

#[test]
fn no_sqlite_crate_is_in_the_lock_file() {
    let lock = toml("Cargo.lock");
    let names = lock["package"]
        .as_array()
        .expect("packages")
        .iter()
        .filter_map(|package| package["name"].as_str());
    let sqlite: Vec<_> = names.filter(|name| name.contains("sqlite")).collect();
    assert!(sqlite.is_empty(), "{sqlite:?}");
}

#[test]
fn the_project_contains_no_database_file() {
    for file in project_files() {
        let extension = Path::new(&file).extension().unwrap_or_default();
        assert!(
            extension != "db" && extension != "sqlite" && extension != "sqlite3",
            "{file}"
        );
    }
}
