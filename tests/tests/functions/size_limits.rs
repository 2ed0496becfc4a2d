//! The size of a deployment package, which does not depend on the machine.

use tests::function::binary;
use tests::{size, template};

/// The maximum size of a package in bytes. Lambda loads the whole package before it starts a function.
const MAX_PACKAGE_BYTES: u64 = 3_670_016; // 3.5 MiB

#[test]
fn every_package_is_below_the_size_limit() {
    for (name, function) in template::functions() {
        let binary_name = template::binary_of(&function);
        let bytes = size::zipped_bytes(&binary(&binary_name));
        assert!(bytes <= MAX_PACKAGE_BYTES, "{name}: {bytes} bytes");
    }
}
