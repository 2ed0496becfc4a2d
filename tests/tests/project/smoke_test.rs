//! The smoke test of `migrate` runs every statement of the functions.
//!
//! A statement counts as run if a function in its file uses it that the smoke test calls, directly or through other
//! functions that take a database.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{ExprPath, FnArg, Ident, Item, ItemFn, Macro, Type};

use crate::files::{assert_no_problems, sources_in};
use crate::rust::{is_test, parse, words, words_of};

/// Where the smoke test is: a file and a folder.
const SMOKE_TEST: &str = "functions/src/bin/migrate/smoke_test";

/// The library's folder for what runs statements, and has none but that of the schema's version.
const DATABASE: &str = "shared/src/database/";

/// A function that takes a database.
struct Function {
    /// The modules that it is in, and its name.
    path: Vec<String>,
    /// The paths in its body.
    calls: Vec<Vec<String>>,
    /// The words of its body.
    words: Vec<String>,
}

impl Function {
    fn matches(&self, call: &[String]) -> bool {
        let (Some(name), Some((own_name, modules))) = (call.last(), self.path.split_last()) else {
            return false;
        };
        name == own_name && (call.len() == 1 || modules.contains(&call[call.len() - 2]))
    }
}

#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_expr_path(&mut self, path: &'ast ExprPath) {
        let segments = path.path.segments.iter();
        self.0
            .push(segments.map(|it| it.ident.to_string()).collect());
        visit::visit_expr_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        let words = words_of(call.tokens.clone()).into_iter();
        self.0.extend(words.map(|word| vec![word]));
    }
}

fn ends_in(kind: &Type, name: &str) -> bool {
    match kind {
        Type::Reference(reference) => ends_in(&reference.elem, name),
        Type::Path(path) => path.path.segments.last().is_some_and(|it| it.ident == name),
        _ => false,
    }
}

fn takes_database(function: &ItemFn) -> bool {
    function.sig.inputs.iter().any(|input| match input {
        FnArg::Typed(input) => ends_in(&input.ty, "Database"),
        FnArg::Receiver(_) => false,
    })
}

/// The statements and the functions of a file.
fn read_file(path: &str, source: &str) -> (Vec<Ident>, Vec<Function>) {
    let (mut statements, mut functions) = (Vec::new(), Vec::new());
    let file = parse(path, source);
    for item in file.items.iter().filter(|item| !is_test(item)) {
        match item {
            Item::Const(constant) if ends_in(&constant.ty, "Statement") => {
                statements.push(constant.ident.clone());
            }
            Item::Fn(function) if takes_database(function) => {
                let mut paths = Paths::default();
                paths.visit_block(&function.block);
                let modules = path
                    .trim_start_matches("shared/src/")
                    .trim_end_matches(".rs");
                let mut path: Vec<_> = modules.split('/').map(str::to_owned).collect();
                path.push(function.sig.ident.to_string());
                let words = paths.0.iter().flatten().cloned().collect();
                functions.push(Function {
                    path,
                    calls: paths.0,
                    words,
                });
            }
            _ => {}
        }
    }
    (statements, functions)
}

/// The statements that no called function uses, each with its file.
fn statements_not_run(
    sources: &BTreeMap<String, String>,
    smoke_test: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut files = BTreeMap::new();
    for (path, source) in sources {
        files.insert(path, read_file(path, source));
    }
    let functions: Vec<&Function> = files
        .values()
        .flat_map(|(_, functions)| functions)
        .collect();
    let mut paths = Paths::default();
    for (path, source) in smoke_test {
        paths.visit_file(&parse(path, source));
    }
    let mut called = BTreeSet::new();
    let mut calls = paths.0;
    // A call with a single name is one of a method or of a function of the smoke test's own.
    calls.retain(|call| call.len() > 1);
    while let Some(call) = calls.pop() {
        for function in &functions {
            if function.matches(&call) && called.insert(&function.path) {
                calls.extend(function.calls.iter().cloned());
            }
        }
    }
    let mut missing = Vec::new();
    for (path, (statements, functions)) in &files {
        for statement in statements {
            let is_run = functions.iter().any(|function| {
                called.contains(&function.path) && function.words.iter().any(|it| statement == it)
            });
            if !is_run {
                missing.push(format!(
                    "{path}: {SMOKE_TEST} calls no function that uses {statement}; let it do what the new function does"
                ));
            }
        }
    }
    missing
}

#[test]
fn the_smoke_test_runs_every_statement() {
    let mut sources = sources_in("shared/src/", "rs");
    sources.retain(|path, _| !path.starts_with(DATABASE));
    let statements = sources
        .iter()
        .flat_map(|(path, source)| words(path, source))
        .filter(|word| word == "Statement");
    assert!(statements.count() > 10, "the statements are elsewhere");
    assert_no_problems(&statements_not_run(&sources, &sources_in(SMOKE_TEST, "rs")));
}

#[test]
fn a_statement_that_is_not_run_is_found() {
    let source = "
        const GET: Statement = Statement::read(\"\");
        const LIST: Statement = Statement::read(\"\");
        const PURGE: Statement = Statement::write(\"\");
        pub async fn get(database: &Database) { inner(database).await }
        async fn inner(database: &'static Database) { database.query(&GET).await }
        pub async fn list(database: &Database) { database.query(&LIST).await }";
    let sources = BTreeMap::from([("shared/src/tasks.rs".to_owned(), source.to_owned())]);
    let missing = |smoke_test: &str| -> Vec<String> {
        let smoke_test = BTreeMap::from([(SMOKE_TEST.to_owned(), smoke_test.to_owned())]);
        let missing = statements_not_run(&sources, &smoke_test);
        let name = |line: &String| {
            let (_, rest) = line.split_once("uses ").expect("a statement");
            rest.split(';').next().unwrap_or_default().to_owned()
        };
        missing.iter().map(name).collect()
    };
    assert_eq!(missing("fn run() { tasks::get(d); }"), ["LIST", "PURGE"]);
    assert_eq!(missing("fn run() { accounts::get(d); list(d); }").len(), 3);
}
