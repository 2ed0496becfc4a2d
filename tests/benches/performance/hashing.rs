//! Password hashing, compared with the reference implementation in C.

use std::ffi::OsStr;
use std::process::Command;

use tests::database::env_var;
use tests::function::binary;

use crate::sample::Sample;

/// Milliseconds of a hash.
pub(crate) struct Hashing {
    /// Ours, in a process that has hashed before.
    pub(crate) ours: Sample,
    /// Ours, the first of a process, which allocates the memory from the system.
    pub(crate) first: Sample,
    /// The reference implementation, with memory that the process has already allocated.
    pub(crate) reference: Sample,
}

/// Computes the same hash with argon2-cffi, which wraps the reference implementation.
const REFERENCE: &str = "
import sys, time
from argon2.low_level import Type, hash_secret
for _ in range(int(sys.argv[1])):
    started = time.perf_counter_ns()
    hash_secret(b'correct horse battery', b'0123456789abcdef', 2, 19456, 1, 32, Type.ID)
    print(time.perf_counter_ns() - started)";

/// The number of hashes of a process. The first is measured separately.
const HASHES: &str = "6";

/// Runs both in turn, on the same core. `None` where `ARGON2_PYTHON` is not set.
pub(crate) fn compare(rounds: usize) -> Option<Hashing> {
    let python = env_var("ARGON2_PYTHON")?;
    let mut hashing = Hashing {
        ours: Sample::default(),
        first: Sample::default(),
        reference: Sample::default(),
    };
    for _ in 0..rounds.div_ceil(2) {
        let (first, later) = times(binary("hash"), &[HASHES]);
        hashing.first.add(first);
        hashing.ours.extend(later);
        let (_, later) = times(&python, &["-c", REFERENCE, HASHES]);
        hashing.reference.extend(later);
    }
    Some(hashing)
}

/// Runs a program that prints the nanoseconds of each hash. Returns the milliseconds of the first and of the others.
fn times(program: impl AsRef<OsStr>, arguments: &[&str]) -> (f64, Vec<f64>) {
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", "0"])
        .arg(program)
        .args(arguments);
    // With these settings glibc keeps freed memory, so that the reference does not allocate it anew each time.
    command.envs([
        ("MALLOC_MMAP_THRESHOLD_", "33554432"),
        ("MALLOC_TRIM_THRESHOLD_", "1073741824"),
    ]);
    let output = command.output().expect("taskset");
    let printed = String::from_utf8_lossy(&output.stdout);
    let nanoseconds = printed.lines().map(|line| line.parse().expect("a number"));
    let mut times = nanoseconds.map(|time: f64| time / 1_000_000.0);
    let first = times.next().expect("a time");
    (first, times.collect())
}
