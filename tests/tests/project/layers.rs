//! Imports in shared/src go downwards only, and without circles.
//!
//! A path such as `crate::database::error::Error` counts as an import of the file of the last module that it names,
//! here database/error.rs. A path through a re-export therefore counts as an import of the file that re-exports, and can
//! close a circle: name the module that defines the item instead.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{Item, ItemMod, ItemUse, UseTree, VisRestricted};

use crate::files::{assert_no_problems, sources_in};
use crate::rust::{is_test, parse};

/// The top modules of shared/src, the highest layer first.
const LAYERS: [&str; 14] = [
    "accounts",
    "tasks",
    "job",
    "http",
    "validation",
    "auth",
    "settings",
    "database",
    "telemetry",
    "timeouts",
    "timestamp",
    "setting_text",
    "config_errors",
    "cause",
];

/// The file that re-exports, which is exempt.
const ROOT: &str = "lib.rs";

/// The names from the root of the crate to a module or an item.
type Path = Vec<String>;

/// The modules that are files, with the paths of these files below src/.
type Modules<'a> = BTreeMap<Path, &'a str>;

/// The imports within a layer: the file that imports, the file that is imported, and a description of the import.
type Edges<'a> = BTreeMap<(&'a str, &'a str), String>;

fn layer_of(path: &[String]) -> Option<usize> {
    LAYERS.iter().position(|layer| path[0] == *layer)
}

fn module_of(file: &str) -> Path {
    let name = file.strip_suffix(".rs").expect("a Rust file");
    let names = name.split('/').filter(|_| file != ROOT);
    names.map(str::to_owned).collect()
}

/// The file of the last module that a path names.
fn target_of<'a>(path: &[String], modules: &Modules<'a>) -> Option<&'a str> {
    let mut lengths = (1..=path.len()).rev();
    lengths.find_map(|length| modules.get(&path[..length]).copied())
}

/// Everything that breaks the rules in files with the given paths below src/ and sources.
fn violations(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut parsed = BTreeMap::new();
    let mut modules = Modules::new();
    for (file, source) in sources {
        parsed.insert(file.as_str(), parse(file, source));
        modules.insert(module_of(file), file);
    }
    modules.remove(&Path::new());
    for (file, content) in &parsed {
        for item in content.items.iter().filter(|item| is_test(item)) {
            if let Item::Mod(test_module) = item {
                let name = test_module.ident.to_string();
                modules.remove(&[module_of(file), vec![name]].concat());
            }
        }
    }

    let mut violations = Vec::new();
    let mut edges = Edges::new();
    for (module, file) in &modules {
        let top = &module[0];
        let Some(layer) = layer_of(module) else {
            violations.push(format!(
                "{file}: `{top}` is in no layer; add it to LAYERS in tests/tests/project/layers.rs"
            ));
            continue;
        };
        let mut imports = Imports {
            module: module.clone(),
            modules: &modules,
            found: Vec::new(),
        };
        imports.visit_file(&parsed[file]);
        for (path, line) in imports.found {
            let import = format!("{file}:{line}: `crate::{}`", path.join("::"));
            let Some(target) = target_of(&path, &modules) else {
                violations.push(format!(
                    "{import} is a re-export of {ROOT}; name the module that defines it"
                ));
                continue;
            };
            let target_layer = layer_of(&path);
            if target_layer.is_some_and(|target_layer| target_layer < layer) {
                let target_top = &path[0];
                violations.push(format!(
                    "{import} is in a higher layer ({target_top} is above {top})"
                ));
            } else if target_layer == Some(layer) && target != *file {
                edges.entry((file, target)).or_insert(import);
            }
        }
    }
    for ((file, target), import) in &edges {
        if leads_to(target, file, &edges) {
            violations.push(format!(
                "{import} is part of a circle: {target} imports {file}, directly or through others"
            ));
        }
    }
    violations
}

/// Whether a file imports another one, directly or through others.
fn leads_to(from: &str, to: &str, edges: &Edges) -> bool {
    let mut reached = BTreeSet::from([from]);
    let mut unvisited = vec![from];
    while let Some(file) = unvisited.pop() {
        for (_, target) in edges.keys().filter(|(importer, _)| *importer == file) {
            if reached.insert(target) {
                unvisited.push(target);
            }
        }
    }
    reached.contains(to)
}

/// Collects the paths within the crate that a file contains, in `use` declarations and elsewhere, but not in the
/// arguments of macros.
struct Imports<'a> {
    /// The module at the current position: the file's, or an inline module in it.
    module: Path,
    modules: &'a Modules<'a>,
    /// Each path with its first line.
    found: Vec<(Path, usize)>,
}

impl Imports<'_> {
    fn add_use(&mut self, mut path: Path, tree: &UseTree) {
        let (name, span) = match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                return self.add_use(path, &tree.tree);
            }
            UseTree::Group(group) => {
                let trees = group.items.iter();
                return trees.for_each(|tree| self.add_use(path.clone(), tree));
            }
            UseTree::Glob(glob) => ("*".to_owned(), glob.star_token.span),
            UseTree::Name(name) => (name.ident.to_string(), name.ident.span()),
            UseTree::Rename(name) => (name.ident.to_string(), name.ident.span()),
        };
        if name != "self" {
            path.push(name);
        }
        self.add(&path, span);
    }

    fn add(&mut self, path: &[String], span: Span) {
        let is_new = |path: &Path| self.found.iter().all(|(found, _)| found != path);
        if let Some(path) = self.resolve(path).filter(is_new) {
            self.found.push((path, span.start().line));
        }
    }

    /// The path from the root of the crate, or `None` for a path to another crate or to an item of the file.
    fn resolve(&self, path: &[String]) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([self.module.as_slice(), rest].concat()),
            "super" => {
                let supers = path.iter().take_while(|name| *name == "super").count();
                let ancestor = self.module.len().checked_sub(supers)?;
                Some([&self.module[..ancestor], &path[supers..]].concat())
            }
            _ => {
                let child = [self.module.as_slice(), std::slice::from_ref(first)].concat();
                let is_child = self.modules.contains_key(&child);
                is_child.then(|| [child.as_slice(), rest].concat())
            }
        }
    }
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, inline: &'ast ItemMod) {
        self.module.push(inline.ident.to_string());
        visit::visit_item_mod(self, inline);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // A path that starts with `::` leads to another crate.
        if item.leading_colon.is_none() {
            self.add_use(Path::new(), &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let first = &path.segments[0].ident;
            let names = path.segments.iter().map(|it| it.ident.to_string());
            self.add(&names.collect::<Path>(), first.span());
        }
        visit::visit_path(self, path);
    }

    /// `pub(in path)` imports nothing.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}
}

#[test]
fn shared_imports_only_from_lower_layers_and_without_circles() {
    const FOLDER: &str = "shared/src/";
    let files = sources_in(FOLDER, "rs").into_iter();
    let sources: BTreeMap<_, _> = files
        .map(|(path, source)| (path[FOLDER.len()..].to_owned(), source))
        .collect();
    assert!(sources.contains_key(ROOT), "{FOLDER}{ROOT} is missing");
    assert_no_problems(&violations(&sources));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares the violations in files, each a line `path: source`, with the expected ones, each a line.
    #[track_caller]
    fn assert_violations(files: &str, expected: &str) {
        let files = files
            .lines()
            .filter_map(|line| line.trim().split_once(": "));
        let sources = files.map(|(path, source)| (path.to_owned(), source.replace("\\n", "\n")));
        let expected: Vec<_> = expected.lines().map(str::trim).collect();
        assert_eq!(violations(&sources.collect()), expected);
    }

    #[test]
    fn downward_imports_and_those_of_tests_are_allowed() {
        assert_violations(
            "lib.rs: pub mod tasks; pub use http::Reply;
             tasks.rs: use crate::http::reply::Reply; use crate::cause;
             http.rs: mod reply; pub use reply::Reply;
             http/reply.rs: use std::fmt; pub(in crate::http) use crate::cause::{self, Cause};
             cause.rs: #[cfg(test)] mod helpers; #[cfg(test)] mod tests { use crate::tasks::Task; }
             cause/helpers.rs: use crate::tasks::Task;",
            "",
        );
    }

    #[test]
    fn an_upward_import_is_found_in_use_and_in_code() {
        assert_violations(
            r"auth.rs: mod tokens;
              auth/tokens.rs: // Imports nothing.
              cause.rs: fn f() { use crate::auth::tokens::*; }
              database.rs: mod inline { fn f() -> Vec<super::super::settings::Settings> {} }
              settings.rs: use std::fmt;\nuse crate::{\n auth::{self as other, tokens::Claims},\n};
              telemetry.rs: fn f() {\n if let crate::auth::A = super::database::f() {} }",
            "cause.rs:1: `crate::auth::tokens::*` is in a higher layer (auth is above cause)
             database.rs:1: `crate::settings::Settings` is in a higher layer (settings is above database)
             settings.rs:3: `crate::auth` is in a higher layer (auth is above settings)
             settings.rs:3: `crate::auth::tokens::Claims` is in a higher layer (auth is above settings)
             telemetry.rs:2: `crate::auth::A` is in a higher layer (auth is above telemetry)
             telemetry.rs:2: `crate::database::f` is in a higher layer (database is above telemetry)",
        );
    }

    #[test]
    fn a_re_export_of_the_root_is_found() {
        assert_violations(
            "lib.rs: mod http; pub use http::Error;
             tasks.rs: use crate::{Error, tasks::fields};
             tasks/fields.rs: fn f() -> Result<(), super::super::Error> {}",
            "tasks.rs:1: `crate::Error` is a re-export of lib.rs; name the module that defines it
             tasks/fields.rs:1: `crate::Error` is a re-export of lib.rs; name the module that defines it",
        );
    }

    #[test]
    fn a_circle_within_a_layer_is_found() {
        assert_violations(
            "http.rs: mod app; pub use app::App;
             http/app.rs: use super::reply::Reply;
             http/reply.rs: use crate::http::App;
             http/serve.rs: use super::app::App;",
            "http.rs:1: `crate::http::app::App` is part of a circle: http/app.rs imports http.rs, directly or through others
             http/app.rs:1: `crate::http::reply::Reply` is part of a circle: http/reply.rs imports http/app.rs, directly or through others
             http/reply.rs:1: `crate::http::App` is part of a circle: http.rs imports http/reply.rs, directly or through others",
        );
    }

    #[test]
    fn a_module_in_no_layer_is_found() {
        assert_violations(
            "users.rs: // Imports nothing.",
            "users.rs: `users` is in no layer; add it to LAYERS in tests/tests/project/layers.rs",
        );
    }
}
