//! The documentation agrees with the project: its links, commands, settings and names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use syn::visit::{self, Visit};
use syn::{Item, LitStr};
use tests::{read, root};

use crate::files::{assert_no_problems, project_files, sources_in, try_read};
use crate::markdown::Document;
use crate::rust::{is_test, parse, words};

const CONFIGURATION: &str = "docs/configuration.md";
const ENV_EXAMPLE: &str = ".env.example";

/// Variables that Lambda or the tests set, and no operator.
const SET_BY_LAMBDA_OR_TESTS: [&str; 4] = [
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_LOG_LEVEL",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_RUNTIME_API",
];

/// Names that were replaced by usual terms and must not return, with these terms.
const REPLACED_NAMES: [(&str, &str); 12] = [
    ("Farewell", "AccountDeletion"),
    ("Stranger", "Requester"),
    ("TakenJustNow", "LostRace"),
    ("NOBODYS_HASH", "DUMMY_HASH"),
    ("beside_the_reactor", "spawn_blocking"),
    ("FOR_BROWSERS", "SECURITY_HEADERS"),
    ("under_own_id", "require_own_user_id"),
    ("connect_ahead", "preconnect"),
    ("OwnDatabase", "TestDatabase"),
    ("expect_discreet_refusal", "assert_no_leak"),
    ("leave_out", "skip"),
    ("mend_cluster", "upgrade_cluster"),
];

fn documents() -> BTreeMap<String, Document> {
    let files = sources_in("", "md").into_iter();
    files
        .map(|(path, text)| (path, Document::parse(&text)))
        .collect()
}

/// The path of a link's target from the project's folder.
fn target_path(document: &str, target: &str) -> PathBuf {
    if target.is_empty() {
        return PathBuf::from(document);
    }
    let folder = Path::new(document).parent().expect("a folder");
    let mut path = PathBuf::new();
    for part in folder.join(target).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            _ => {}
        }
    }
    path
}

/// The relative links that lead to no file or to no heading.
fn broken_links(documents: &BTreeMap<String, Document>) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, document) in documents {
        let links = document.links.iter();
        for link in links.filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = target_path(name, target);
            let path = path.to_str().expect("a path in UTF-8");
            let document = documents.get(path);
            if document.is_none() && !root().join(path).exists() {
                problems.push(format!("{name}: {link}: there is no file {path}"));
            } else if let Some(document) = document
                && !anchor.is_empty()
                && !document.anchors.iter().any(|known| known == anchor)
            {
                problems.push(format!("{name}: {link}: {path} has no heading #{anchor}"));
            }
        }
    }
    problems
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    assert_no_problems(&broken_links(&documents()));
}

#[test]
fn broken_links_are_found() {
    let links = "[1](#a-b) [2](../b.md) [3](/b.md#c) `[4](no)` [5](https://no.invalid)";
    let texts = [
        ("docs/a.md", format!("# A b\n{links}")),
        (
            "b.md",
            "[1](docs/a.md#a) ![2][c]\n\n[c]: ./docs/no.svg".into(),
        ),
    ];
    let texts = texts.iter();
    let documents = texts.map(|(name, text)| ((*name).into(), Document::parse(text)));
    assert_eq!(
        broken_links(&documents.collect()),
        [
            "b.md: docs/a.md#a: docs/a.md has no heading #a",
            "b.md: ./docs/no.svg: there is no file docs/no.svg",
            "docs/a.md: /b.md#c: b.md has no heading #c",
        ]
    );
}

/// The commands that `./dev help` lists.
fn dev_commands() -> BTreeSet<String> {
    let output = Command::new(root().join("dev")).arg("help").output();
    let output = output.expect("./dev help");
    assert!(output.status.success(), "{output:?}");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let commands = help.lines().filter_map(|line| {
        let name = line.strip_prefix("  ")?.split_whitespace().next()?;
        (!line.starts_with("   ")).then(|| name.to_owned())
    });
    commands.collect()
}

#[test]
fn every_dev_command_in_the_documentation_exists() {
    let commands = dev_commands();
    assert!(commands.contains("test"), "{commands:?}");
    let mut problems = BTreeSet::new();
    for (name, document) in documents() {
        for code in &document.code {
            for call in code.split("./dev ").skip(1) {
                let end = call.find(|it: char| !it.is_ascii_lowercase() && it != '-');
                let command = &call[..end.unwrap_or(call.len())];
                // `./dev COMMAND` stands for any command.
                if !command.is_empty() && !commands.contains(command) {
                    problems.insert(format!("{name}: `./dev help` lists no command `{command}`"));
                }
            }
        }
    }
    assert_no_problems(&Vec::from_iter(problems));
}

/// Whether a text has the form of an environment variable's name: words in capitals, joined by underscores.
fn is_variable(text: &str) -> bool {
    let is_in_word = |it: char| it.is_ascii_uppercase() || it.is_ascii_digit();
    let is_word = |part: &str| !part.is_empty() && part.chars().all(is_in_word);
    text.contains('_') && text.split('_').all(is_word)
}

/// The names of variables in the code, each with a file that has it. Every string literal that has the form of a name
/// counts, because code also looks up names from a list. Arguments of macros do not count: `env!` reads a variable of
/// the build.
fn variables_in_code() -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for folder in ["shared/src/", "functions/src/"] {
        for (path, source) in sources_in(folder, "rs") {
            let mut found = Variables::default();
            found.visit_file(&parse(&path, &source));
            variables.extend(found.0.into_iter().map(|name| (name, path.clone())));
        }
    }
    variables
}

/// Collects the names of variables in string literals.
#[derive(Default)]
struct Variables(Vec<String>);

impl<'ast> Visit<'ast> for Variables {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_lit_str(&mut self, literal: &'ast LitStr) {
        let text = literal.value();
        if is_variable(&text) {
            self.0.push(text);
        }
    }
}

/// The variables in the first cells of the tables of docs/configuration.md.
fn documented_settings() -> BTreeSet<String> {
    let document = Document::parse(&read(CONFIGURATION));
    let names = document.code_in_first_cells.into_iter();
    let settings: BTreeSet<_> = names.filter(|name| is_variable(name)).collect();
    assert!(
        !settings.is_empty(),
        "{CONFIGURATION}: no row of a table begins with a setting: | `NAME` | …"
    );
    settings
}

#[test]
fn every_documented_setting_exists_in_the_code() {
    let variables = variables_in_code();
    let problems: Vec<_> = documented_settings()
        .into_iter()
        .filter(|name| !variables.contains_key(name))
        .map(|name| format!("{CONFIGURATION}: {name} is not in shared/src or functions/src"))
        .collect();
    assert_no_problems(&problems);
}

#[test]
fn every_setting_in_the_code_is_documented() {
    let mut problems = Vec::new();
    let settings = documented_settings();
    let example = try_read(ENV_EXAMPLE);
    problems.extend(example.clone().err());
    for (name, path) in variables_in_code() {
        if SET_BY_LAMBDA_OR_TESTS.contains(&name.as_str()) {
            continue;
        }
        if !settings.contains(&name) {
            problems.push(format!("{CONFIGURATION}: {name} of {path} is missing"));
        }
        let assignment = format!("{name}=");
        let is_assigned = |line: &str| line.trim_start_matches(['#', ' ']).starts_with(&assignment);
        if example
            .as_ref()
            .is_ok_and(|it| !it.lines().any(is_assigned))
        {
            problems.push(format!("{ENV_EXAMPLE}: {name} of {path} is missing"));
        }
    }
    assert_no_problems(&problems);
}

/// Each function of a Rust file, as `module::name`. The module is that of the file.
fn functions_in_code() -> BTreeSet<String> {
    let mut functions = BTreeSet::new();
    for (path, source) in sources_in("", "rs") {
        let module = Path::new(&path).file_stem().unwrap_or_default();
        let module = module.to_str().expect("a name in UTF-8");
        let words = words(&path, &source);
        for pair in words.windows(2).filter(|pair| pair[0] == "fn") {
            functions.insert(format!("{module}::{}", pair[1]));
        }
    }
    functions
}

#[test]
fn every_test_named_in_security_md_exists() {
    let functions = functions_in_code();
    let document = Document::parse(&read("SECURITY.md"));
    let is_name = |text: &str| {
        let mut characters = text.chars();
        characters.all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_')
    };
    let tests = document.code.iter().filter(|code| {
        let parts = code.split_once("::");
        // `module::test` explains the form.
        parts.is_some_and(|(module, test)| is_name(module) && is_name(test) && test != "test")
    });
    let problems: BTreeSet<_> = tests
        .filter(|test| !functions.contains(*test))
        .map(|test| format!("SECURITY.md: there is no test {test}"))
        .collect();
    assert_no_problems(&Vec::from_iter(problems));
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 150, "README.md has {lines} lines of at most 150");
}

#[test]
fn no_file_has_a_conflict_of_a_merge() {
    let markers = ["<", ">"].map(|sign| sign.repeat(7) + " ");
    let mut problems = Vec::new();
    for path in project_files() {
        // What is not text has no conflicts.
        for (number, line) in try_read(&path).unwrap_or_default().lines().enumerate() {
            if markers.iter().any(|marker| line.starts_with(marker)) {
                problems.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    assert_no_problems(&problems);
}

#[test]
fn replaced_names_do_not_return() {
    let mut problems = Vec::new();
    for path in project_files() {
        let extension = Path::new(&path).extension().unwrap_or_default();
        let is_script = path == "dev" || path.starts_with("scripts/");
        let words = if extension == "rs" {
            words(&path, &read(&path))
        } else if extension == "yaml" || is_script {
            let text = read(&path);
            let words = text.split(|it: char| !it.is_alphanumeric() && it != '_');
            words.map(str::to_owned).collect()
        } else {
            continue;
        };
        for (name, term) in REPLACED_NAMES {
            if words.iter().any(|word| word == name) {
                problems.push(format!("{path}: {name} was replaced by {term}"));
            }
        }
    }
    assert_no_problems(&problems);
}

#[test]
fn the_form_of_a_variable_is_recognised() {
    assert!(is_variable("DATABASE_URL") && is_variable("A_1"));
    for name in ["PATH", "A__B", "_A", "Database_URL", "A_B=true", ""] {
        assert!(!is_variable(name), "{name}");
    }
}
