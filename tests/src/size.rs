//! How large a function is.

use std::path::Path;
use std::process::Command;

/// Packs a program as SAM does what it uploads: with Python's own zip, deflated at its default level.
const ZIP: &str = "
import io, sys, zipfile
package = io.BytesIO()
with zipfile.ZipFile(package, 'w', zipfile.ZIP_DEFLATED) as file:
    file.write(sys.argv[1], 'bootstrap')
print(len(package.getvalue()))";

/// The bytes of a program.
pub fn bytes(program: &Path) -> u64 {
    std::fs::metadata(program).expect("a program").len()
}

/// The bytes of the package that Lambda is given for a program.
pub fn zipped_bytes(program: &Path) -> u64 {
    let mut python = Command::new("python3");
    let packed = python.args(["-c", ZIP]).arg(program).output();
    let packed = packed.expect("python3");
    let printed = String::from_utf8_lossy(&packed.stdout);
    printed.trim().parse().expect("a number")
}
