//! Comparing the database's schema with what this build expects: the catalog of a freshly migrated database, which
//! `sql/catalog.txt` holds.

use tokio_postgres::Client;

use crate::error::MigrateError;

const CATALOG: &str = include_str!("catalog.sql");

/// What a freshly migrated database consists of: lines of a table ('' for none), an object and a description, between tabs.
const EXPECTED: &str = include_str!("../../../../sql/catalog.txt");

/// Text columns that may have more room: an adopted database keeps the type that it had.
const MAY_BE_WIDER: [(&str, &str); 2] = [("session", "column token"), ("task", "column due_date")];

const PRESENT: &str = "present";

/// An object of the schema.
#[derive(Debug)]
struct Object<'a> {
    /// `""` for an object that belongs to no table.
    relation: &'a str,
    name: &'a str,
    description: &'a str,
}

fn expected() -> impl Iterator<Item = Object<'static>> {
    EXPECTED.lines().map(|line| {
        let mut parts = line.splitn(3, '\t');
        let mut part = || parts.next().unwrap_or_default();
        Object {
            relation: part(),
            name: part(),
            description: part(),
        }
    })
}

/// The names of the tables.
pub(crate) fn tables() -> Vec<&'static str> {
    relations("table")
}

/// The names of the views.
pub(crate) fn views() -> Vec<&'static str> {
    relations("view")
}

fn relations(kind: &str) -> Vec<&'static str> {
    expected()
        .filter(|object| object.name == kind)
        .map(|object| object.relation)
        .collect()
}

/// The signatures of the functions, trigger functions included.
pub(crate) fn functions() -> Vec<&'static str> {
    expected()
        .filter_map(|object| object.name.strip_prefix("function "))
        .collect()
}

/// All objects: the relation of each (`""` for none) and its name.
pub(crate) fn objects() -> (Vec<&'static str>, Vec<&'static str>) {
    expected()
        .map(|object| (object.relation, object.name))
        .unzip()
}

/// The catalog of a freshly migrated database, as `sql/catalog.txt` holds it.
///
/// # Errors
/// Those of the database.
pub(crate) async fn print(client: &Client) -> Result<String, MigrateError> {
    let objects = read_catalog(client).await?.into_iter();
    let mut lines: Vec<_> = objects
        .filter(|(.., is_expected)| *is_expected)
        .map(|(relation, name, description, _)| format!("{relation}\t{name}\t{description}\n"))
        .collect();
    // Not by the server, whose order depends on the collation.
    lines.sort();
    Ok(lines.concat())
}

async fn read_catalog(
    client: &Client,
) -> Result<Vec<(String, String, String, bool)>, MigrateError> {
    let rows = client
        .query_typed(CATALOG, &[])
        .await
        .map_err(MigrateError::from_step("reading the catalog"))?;
    let object = |row: &tokio_postgres::Row| (row.get(0), row.get(1), row.get(2), row.get(3));
    Ok(rows.iter().map(object).collect())
}

/// Compares the schema with the expected one: one line for each difference. An unknown object is not a difference.
///
/// # Errors
/// Those of the database.
pub(crate) async fn differences(client: &Client) -> Result<Vec<String>, MigrateError> {
    let catalog = read_catalog(client).await?;
    let found = |relation: &str, name: &str| {
        catalog
            .iter()
            .find(|(of, object, ..)| of == relation && object == name)
            .map(|(_, _, description, _)| description.as_str())
    };
    let exists =
        |relation: &str| found(relation, "table").is_some() || found(relation, "view").is_some();

    let views = views();
    let differences = expected().filter_map(|object| {
        let Object {
            relation,
            name,
            description,
        } = object;
        let is_relation = name == "table" || name == "view";
        // Where the table is missing, so is everything in it.
        if !relation.is_empty() && !exists(relation) && !is_relation {
            return None;
        }
        let label = match (relation, is_relation) {
            ("", _) => name.to_owned(),
            (_, true) => format!("{name} {relation}"),
            (_, false) if views.contains(&relation) => format!("view {relation}, {name}"),
            (_, false) => format!("table {relation}, {name}"),
        };
        let may_be_wider = MAY_BE_WIDER.contains(&(relation, name));
        difference(&label, found(relation, name), description, may_be_wider)
    });
    Ok(differences.collect())
}

fn difference(
    label: &str,
    found: Option<&str>,
    expected: &str,
    may_be_wider: bool,
) -> Option<String> {
    let or_wider = if may_be_wider { ", or wider" } else { "" };
    match found {
        Some(found) if matches(found, expected, may_be_wider) => None,
        Some(found) => Some(format!(
            "{label}: found {found}; expected {expected}{or_wider}"
        )),
        None if expected == PRESENT => Some(format!("{label}: missing")),
        None => Some(format!("{label}: missing; expected {expected}{or_wider}")),
    }
}

/// Whether a description is the expected one, or that of a text column with more room, where that is allowed.
fn matches(found: &str, expected: &str, may_be_wider: bool) -> bool {
    if found == expected {
        return true;
    }
    match (text_column(found), text_column(expected)) {
        (Some((length, rest)), Some((min_length, expected_rest))) => {
            may_be_wider && length >= min_length && rest == expected_rest
        }
        _ => false,
    }
}

/// How many characters a text column has room for, and the rest of its description.
fn text_column(description: &str) -> Option<(u32, &str)> {
    if let Some(rest) = description.strip_prefix("character varying(") {
        let (limit, rest) = rest.split_once(')')?;
        return Some((limit.parse().ok()?, rest));
    }
    ["character varying", "text"]
        .into_iter()
        .find_map(|kind| Some((u32::MAX, description.strip_prefix(kind)?)))
}
