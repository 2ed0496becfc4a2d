//! Finds the number of the newest migration in `sql/`: the schema version that this build needs.

use std::error::Error;
use std::fs;

const MIGRATIONS: &str = "../sql";

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
    Ok(())
}
