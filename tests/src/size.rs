//! The size of a function.

use std::path::Path;
use std::process::Command;

/// Packs a program as SAM packs an upload: with Python's zipfile, deflated at the default level.
const ZIP: &str = "
import io, sys, zipfile
package = io.BytesIO()
with zipfile.ZipFile(package, 'w', zipfile.ZIP_DEFLATED) as file:
    file.write(sys.argv[1], 'bootstrap')
print(len(package.getvalue()))";

/// The size of a program in bytes.
pub fn bytes(program: &Path) -> u64 {
    std::fs::metadata(program).expect("a program").len()
}

/// The size of a program's deployment package in bytes.
pub fn zipped_bytes(program: &Path) -> u64 {
    let mut python = Command::new("python3");
    let output = python.args(["-c", ZIP]).arg(program).output();
    let output = output.expect("python3");
    let size = String::from_utf8_lossy(&output.stdout);
    size.trim().parse().expect("a number")
}
