//! Released migrations: databases have applied them, and recognize them by their text.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use tests::read;

use crate::files::{assert_no_problems, sources_in};

#[test]
fn released_migrations_are_not_edited() {
    let released = read("sql/released.txt");
    let checksums: BTreeMap<_, _> = released
        .lines()
        .map(|line| line.split_once("  ").expect("a checksum and a path"))
        .map(|(checksum, path)| (path, checksum))
        .collect();
    let migrations = sources_in("sql/V", "sql");
    let problems: Vec<_> = checksums
        .iter()
        .filter_map(|(path, checksum)| match migrations.get(*path) {
            None => Some(format!("{path} was released, and is gone")),
            Some(text) if base16ct::lower::encode_string(&Sha256::digest(text)) != **checksum => {
                Some(format!(
                    "{path} was released: write another migration instead of editing it"
                ))
            }
            Some(_) => None,
        })
        .collect();
    assert_no_problems(&problems);
    assert!(!checksums.is_empty());
}
