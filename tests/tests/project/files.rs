//! Reads files of the project.

use std::collections::BTreeMap;
use std::path::Path;

use tests::{read, root};

/// Folders that are generated.
const GENERATED: [&str; 5] = [".git", "target", ".dev", ".aws-sam", "node_modules"];

/// The paths of all files of the project, relative to its folder and sorted.
pub(crate) fn project_files() -> Vec<String> {
    let root = root();
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if GENERATED.iter().any(|name| path.ends_with(name)) {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                let path = path.strip_prefix(&root).expect("a path below the root");
                files.push(path.to_str().expect("a path in UTF-8").to_owned());
            }
        }
    }
    files.sort();
    files
}

/// The files below a folder whose names end in `.extension`, each with its content.
pub(crate) fn sources_in(folder: &str, extension: &str) -> BTreeMap<String, String> {
    let has_extension = |path: &String| {
        let found = Path::new(path).extension();
        found.is_some_and(|found| found == extension)
    };
    let files = project_files().into_iter();
    files
        .filter(|path| path.starts_with(folder) && has_extension(path))
        .map(|path| {
            let content = read(&path);
            (path, content)
        })
        .collect()
}

/// A file of the project, or a message that it is missing.
pub(crate) fn try_read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}"))
}

/// A TOML file of the project.
pub(crate) fn toml(path: &str) -> toml::Table {
    let content = read(path);
    content
        .parse()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails with all problems at once.
#[track_caller]
pub(crate) fn assert_no_problems(problems: &[String]) {
    let count = problems.len();
    assert!(
        problems.is_empty(),
        "{count} problems:\n{}\n",
        problems.join("\n")
    );
}
