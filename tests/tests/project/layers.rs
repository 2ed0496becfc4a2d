//! Imports in shared/src go downwards only, and without circles.
//!
//! A path such as `crate::database::error::Error` counts as an import of the file of the last module that it names,
//! here database/error.rs. A path through a re-export therefore counts as an import of the file that re-exports, and can
//! close a circle: name the module that defines the item instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use crate::files::{assert_no_problems, sources_in};
use crate::rust::{Kind, Token, without_tests};

/// The top modules of shared/src, the highest layer first.
const LAYERS: [&str; 13] = [
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
    "config_errors",
    "cause",
];

/// The file that re-exports, which is exempt.
const ROOT: &str = "lib.rs";

/// The names from the root of the crate to a module or an item.
type Path = Vec<String>;

/// A path that a file contains.
#[derive(Clone, Debug)]
struct Import {
    path: Path,
    line: usize,
}

impl fmt::Display for Import {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "crate::{}", self.path.join("::"))
    }
}

/// The files of a crate, each with its source, by their paths below src/.
type Sources = BTreeMap<String, String>;

/// The modules that are files, with the paths of these files.
type Modules = BTreeMap<Path, String>;

fn module_of(file: &str) -> Path {
    let name = file.strip_suffix(".rs").expect("a Rust file");
    let name = name.strip_suffix("/mod").unwrap_or(name);
    name.split('/').map(str::to_owned).collect()
}

/// Everything that breaks the rules.
fn violations(sources: &Sources) -> Vec<String> {
    let mut test_files = BTreeSet::new();
    let mut parsed = BTreeMap::new();
    for (file, source) in sources {
        let (tokens, test_modules) = without_tests(source);
        let module = if file == ROOT {
            Path::new()
        } else {
            module_of(file)
        };
        for name in test_modules {
            test_files.insert([module.clone(), vec![name]].concat());
        }
        parsed.insert(file, (module, tokens));
    }
    parsed.retain(|file, (module, _)| *file != ROOT && !test_files.contains(module));
    let modules: Modules = parsed
        .iter()
        .map(|(file, (module, _))| (module.clone(), (*file).clone()))
        .collect();

    let mut violations = Vec::new();
    let mut graph = Graph::new();
    for (file, (module, tokens)) in &parsed {
        let Some(layer) = LAYERS.iter().position(|layer| *layer == module[0]) else {
            violations.push(format!(
                "{file}: `{}` is in no layer; add it to LAYERS in tests/tests/project/layers.rs",
                module[0]
            ));
            continue;
        };
        for import in imports(tokens, module, &modules) {
            let line = import.line;
            let Some(target) = target_of(&import.path, &modules) else {
                violations.push(format!(
                    "{file}:{line}: `{import}` is a re-export of {ROOT}; name the module that defines it"
                ));
                continue;
            };
            if target == *file {
                continue;
            }
            let top = &import.path[0];
            let target_layer = LAYERS.iter().position(|layer| layer == top);
            if target_layer.is_some_and(|target_layer| target_layer < layer) {
                violations.push(format!(
                    "{file}:{line}: `{import}` is in a higher layer ({top} is above {})",
                    module[0]
                ));
            } else if target_layer == Some(layer) {
                let edges: &mut BTreeMap<_, _> = graph.entry((*file).clone()).or_default();
                edges.entry(target.clone()).or_insert(import);
            }
        }
    }
    violations.extend(circles(&graph));
    violations
}

/// The file of the last module that a path names.
fn target_of<'a>(path: &[String], modules: &'a Modules) -> Option<&'a String> {
    (1..=path.len())
        .rev()
        .find_map(|length| modules.get(&path[..length]))
}

/// Each file with the files of its own layer that it imports, and one import of each.
type Graph = BTreeMap<String, BTreeMap<String, Import>>;

/// The groups of files that import each other in a circle, each with these imports.
fn circles(graph: &Graph) -> Vec<String> {
    let reachable: BTreeMap<_, _> = graph
        .keys()
        .map(|file| (file, reachable_from(file, graph)))
        .collect();
    let mut reported = BTreeSet::new();
    let mut circles = Vec::new();
    for (file, others) in &reachable {
        if !others.contains(file) || reported.contains(file) {
            continue;
        }
        let is_member = |other: &&String| {
            others.contains(other) && reachable.get(other).is_some_and(|it| it.contains(file))
        };
        let members: BTreeSet<&String> = others.iter().copied().filter(is_member).collect();
        let names: Vec<_> = members.iter().map(|member| member.as_str()).collect();
        let mut circle = format!("circle: {}", names.join(", "));
        for member in &members {
            let imports = graph[*member].iter();
            for (_, import) in imports.filter(|(target, _)| members.contains(target)) {
                let line = import.line;
                write!(circle, "\n    {member}:{line}: `{import}`").expect("memory");
            }
        }
        circles.push(circle);
        reported.extend(members);
    }
    circles
}

fn reachable_from<'a>(file: &str, graph: &'a Graph) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut unvisited: Vec<_> = graph.get(file).into_iter().collect();
    while let Some(edges) = unvisited.pop() {
        for target in edges.keys() {
            if found.insert(target) {
                unvisited.extend(graph.get(target));
            }
        }
    }
    found
}

/// The paths within the crate that a file contains, in `use` declarations and elsewhere.
fn imports(tokens: &[Token], module: &[String], modules: &Modules) -> Vec<Import> {
    let mut parser = Parser {
        tokens,
        position: 0,
        module: module.to_vec(),
        modules,
        aliases: BTreeMap::new(),
        imports: Vec::new(),
    };
    parser.parse();
    parser.imports
}

struct Parser<'a> {
    tokens: &'a [Token],
    position: usize,
    /// The module at the current position: the file's, or an inline module in it.
    module: Path,
    modules: &'a Modules,
    /// The imported modules, by their names in the file.
    aliases: BTreeMap<String, Path>,
    imports: Vec<Import>,
}

impl Parser<'_> {
    fn is(&self, ahead: usize, text: &str) -> bool {
        let token = self.tokens.get(self.position + ahead);
        token.is_some_and(|token| token.is(text))
    }

    fn word(&self, ahead: usize) -> Option<&str> {
        let token = self.tokens.get(self.position + ahead)?;
        (token.kind == Kind::Word).then_some(token.text.as_str())
    }

    fn parse(&mut self) {
        // The depth of the braces, now and around each inline module.
        let (mut depth, mut inline_modules) = (0_usize, Vec::new());
        while self.position < self.tokens.len() {
            if self.is(0, "use") && !self.is(1, "<") {
                self.position += 1;
                self.use_tree(&[]);
            } else if let (true, Some(name), true) =
                (self.is(0, "mod"), self.word(1), self.is(2, "{"))
            {
                self.module.push(name.to_owned());
                inline_modules.push(depth);
                depth += 1;
                self.position += 3;
            } else if self.word(0).is_some() && self.is(1, "::") {
                self.path_in_code();
            } else {
                depth += usize::from(self.is(0, "{"));
                if self.is(0, "}") {
                    depth = depth.saturating_sub(1);
                    if inline_modules.last() == Some(&depth) {
                        inline_modules.pop();
                        self.module.pop();
                    }
                }
                self.position += 1;
            }
        }
    }

    /// Reads the names of a path.
    fn path(&mut self) -> Path {
        let mut path = Path::new();
        while let Some(name) = self.word(0) {
            path.push(name.to_owned());
            self.position += 1;
            if !self.is(0, "::") {
                break;
            }
            self.position += 1;
        }
        path
    }

    fn use_tree(&mut self, prefix: &[String]) {
        let line = self.tokens.get(self.position).map_or(0, |token| token.line);
        if self.is(0, "::") {
            // A path that starts with `::` leads to another crate.
            self.position += 1;
            self.use_tree(&["::".to_owned()]);
            return;
        }
        let mut path = prefix.to_vec();
        path.extend(self.path());
        if self.is(0, "{") {
            self.position += 1;
            while self.position < self.tokens.len() && !self.is(0, "}") {
                if self.is(0, ",") {
                    self.position += 1;
                } else {
                    self.use_tree(&path);
                }
            }
            self.position += 1;
            return;
        }
        if path.len() > 1 && path.last().is_some_and(|name| name == "self") {
            path.pop();
        }
        let mut name = path.last().cloned();
        if self.is(0, "as") {
            name = self.word(1).map(str::to_owned);
            self.position += 2;
        } else if self.is(0, "*") {
            path.push("*".to_owned());
            self.position += 1;
        } else if ![",", "}", ";"].iter().any(|sign| self.is(0, sign)) {
            // Code that does not compile. Skip the token, so that the loop ends.
            self.position += 1;
        }
        if let Some(path) = self.resolve(&path) {
            if let Some(name) = name.filter(|_| self.modules.contains_key(&path)) {
                self.aliases.insert(name, path.clone());
            }
            self.add(path, line);
        }
    }

    /// A path in code: in an expression, a type, a macro or a visibility.
    fn path_in_code(&mut self) {
        let line = self.tokens[self.position].line;
        let is_behind = |signs: &[&str]| {
            let tokens = &self.tokens[..self.position];
            tokens.len() >= signs.len()
                && tokens[tokens.len() - signs.len()..]
                    .iter()
                    .zip(signs)
                    .all(|(token, sign)| token.is(sign))
        };
        // The rest of a path, a method, and `pub(in path)` import nothing.
        let is_import = !is_behind(&["::"]) && !is_behind(&["."]) && !is_behind(&["(", "in"]);
        let path = self.path();
        let alias = self.aliases.get(&path[0]);
        let resolved = match alias {
            Some(module) => Some([module.as_slice(), &path[1..]].concat()),
            None => self.resolve(&path),
        };
        if let Some(path) = resolved.filter(|_| is_import) {
            self.add(path, line);
        }
    }

    /// The path from the root of the crate, or `None` for a path to another crate or to an item of the file.
    fn resolve(&self, path: &[String]) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([self.module.as_slice(), rest].concat()),
            "super" => {
                let count = path.iter().take_while(|name| *name == "super").count();
                let ancestor = self.module.len().checked_sub(count)?;
                Some([&self.module[..ancestor], &path[count..]].concat())
            }
            _ => {
                let child = [self.module.as_slice(), std::slice::from_ref(first)].concat();
                let is_child = self.modules.contains_key(&child);
                is_child.then(|| [self.module.as_slice(), path].concat())
            }
        }
    }

    fn add(&mut self, path: Path, line: usize) {
        if !self.imports.iter().any(|import| import.path == path) {
            self.imports.push(Import { path, line });
        }
    }
}

#[test]
fn shared_imports_only_from_lower_layers_and_without_circles() {
    const FOLDER: &str = "shared/src/";
    let files = sources_in(FOLDER, "rs").into_iter();
    let sources: Sources = files
        .map(|(path, source)| (path[FOLDER.len()..].to_owned(), source))
        .collect();
    assert!(sources.contains_key(ROOT), "{FOLDER}{ROOT} is missing");
    assert_no_problems(&violations(&sources));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations_of(files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter();
        let sources = files.map(|(path, source)| ((*path).to_owned(), (*source).to_owned()));
        violations(&sources.collect())
    }

    /// The names behind `crate::` that a source imports in the module `http::request`.
    fn imports_of(source: &str) -> Vec<String> {
        let modules = ["http", "http/request", "http/request/body", "auth/tokens"];
        let files = modules.map(|name| {
            let file = format!("{name}.rs");
            (module_of(&file), file)
        });
        let (tokens, _) = without_tests(source);
        let module = module_of("http/request.rs");
        let imports = imports(&tokens, &module, &files.into_iter().collect());
        imports
            .iter()
            .map(|import| import.path.join("::"))
            .collect()
    }

    #[test]
    fn downward_imports_are_allowed() {
        let violations = violations_of(&[
            ("lib.rs", "pub mod tasks; pub use http::Reply;"),
            (
                "tasks.rs",
                "use crate::http::reply::Reply; use crate::cause;",
            ),
            ("http.rs", "mod reply; pub use reply::Reply;"),
            (
                "http/reply.rs",
                "use crate::database::{self, error::Error};",
            ),
            ("database.rs", "pub mod error;"),
            ("database/error.rs", "use crate::cause::Cause;"),
            ("cause.rs", ""),
        ]);
        assert_eq!(violations, [""; 0]);
    }

    #[test]
    fn an_upward_import_is_found_in_use_and_in_code() {
        let settings =
            "use std::fmt;\nuse crate::{\n    auth::{self as other, rate_limit::Limits},\n};";
        let violations = violations_of(&[
            ("settings.rs", settings),
            ("auth.rs", ""),
            ("auth/rate_limit.rs", ""),
            ("database.rs", "fn f() -> super::settings::Settings { g() }"),
            ("cause.rs", "fn f() { $crate::database::log!() }"),
        ]);
        assert_eq!(
            violations,
            [
                "cause.rs:1: `crate::database::log` is in a higher layer (database is above cause)",
                "database.rs:1: `crate::settings::Settings` is in a higher layer (settings is above database)",
                "settings.rs:3: `crate::auth` is in a higher layer (auth is above settings)",
                "settings.rs:3: `crate::auth::rate_limit::Limits` is in a higher layer (auth is above settings)",
            ]
        );
    }

    #[test]
    fn a_re_export_of_the_root_is_found() {
        let violations = violations_of(&[
            ("lib.rs", "mod http; pub use http::Error;"),
            ("http.rs", ""),
            ("tasks.rs", "use crate::{App, Error};\nuse crate::*;"),
            (
                "tasks/fields.rs",
                "fn f() -> Result<(), super::super::Error> { }",
            ),
        ]);
        let advice = "is a re-export of lib.rs; name the module that defines it";
        assert_eq!(
            violations,
            [
                format!("tasks.rs:1: `crate::App` {advice}"),
                format!("tasks.rs:1: `crate::Error` {advice}"),
                format!("tasks.rs:2: `crate::*` {advice}"),
                format!("tasks/fields.rs:1: `crate::Error` {advice}"),
            ]
        );
    }

    #[test]
    fn a_circle_within_a_layer_is_found() {
        let violations = violations_of(&[
            (
                "database.rs",
                "mod error; mod retry; mod tls;\npub use error::Error;",
            ),
            ("database/error.rs", "use super::retry::Retry;"),
            ("database/retry.rs", "use crate::database::Error;"),
            ("database/tls.rs", "use super::error::Error;"),
        ]);
        assert_eq!(
            violations,
            [
                "circle: database.rs, database/error.rs, database/retry.rs\n    \
              database.rs:2: `crate::database::error::Error`\n    \
              database/error.rs:1: `crate::database::retry::Retry`\n    \
              database/retry.rs:1: `crate::database::Error`"
            ]
        );
    }

    #[test]
    fn a_module_in_no_layer_is_found() {
        let violations = violations_of(&[("users.rs", "")]);
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].starts_with("users.rs: `users` is in no layer"));
    }

    #[test]
    fn tests_are_exempt() {
        let violations = violations_of(&[
            (
                "cause.rs",
                "// use crate::tasks;\n#[cfg(test)] mod helpers;\n#[cfg(test)] mod tests { use crate::tasks::Task; }",
            ),
            ("cause/helpers.rs", "use crate::tasks::Task;"),
            ("tasks.rs", ""),
        ]);
        assert_eq!(violations, [""; 0]);
    }

    #[test]
    fn paths_are_resolved_from_where_they_stand() {
        assert_eq!(
            imports_of(
                "use http::Method; use ::http::Uri; use serde::{Deserialize, Serialize as _};
                 use self::body::{A, B as C, inner::{D}}; pub(crate) use body::E;
                 use super::{reply::*, *};
                 use crate::auth::tokens as t;
                 impl f::G for t::H<super::I> { fn x() -> impl J + use<'_> { y.body::<K>(); body::k() } }
                 mod inline { use super::L; use super::super::M; fn z() {} }
                 use super::N; pub(in crate::http) fn z() {}"
            ),
            [
                "http::request::body::A",
                "http::request::body::B",
                "http::request::body::inner::D",
                "http::request::body::E",
                "http::reply::*",
                "http::*",
                "auth::tokens",
                "auth::tokens::H",
                "http::I",
                "http::request::body::k",
                "http::request::L",
                "http::M",
                "http::N",
            ]
        );
    }
}
