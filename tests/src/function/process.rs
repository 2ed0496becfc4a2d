//! Processes of the binaries, outside of Lambda.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::TIMEOUT;
use crate::database::env_var;
use crate::unique;

/// The path of a function's binary: in the folder `FUNCTIONS`, or else in the folder that Cargo built this test in.
pub fn binary(name: &str) -> PathBuf {
    let folder = env_var("FUNCTIONS").map_or_else(
        || {
            let test = std::env::current_exe().expect("this test's path");
            test.ancestors().nth(2).expect("target/debug").to_owned()
        },
        PathBuf::from,
    );
    // The layout of cargo-lambda and SAM, and that of Cargo.
    [folder.join(name).join("bootstrap"), folder.join(name)]
        .into_iter()
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is not built in {}", folder.display()))
}

/// The environment variables of a process. The default is the settings of the test run.
#[derive(Clone, Debug)]
pub struct Environment(HashMap<String, String>);

impl Default for Environment {
    fn default() -> Self {
        let names = [
            "APPLICATION_ROLE",
            "DATABASE_URL",
            "DATABASE_URL_UNPOOLED",
            "SECRET_KEY",
            "SSL_CERT_FILE",
            "ALLOW_LOCAL_DATABASE",
            "MAX_FAILED_LOGINS_PER_ADDRESS",
            "MAX_REGISTRATIONS_PER_ADDRESS",
            "AWS_LAMBDA_LOG_LEVEL",
        ];
        Self(
            names
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
                .collect(),
        )
    }
}

impl Environment {
    /// Sets a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// The value of a variable.
    pub fn value(&self, name: &str) -> &str {
        &self.0[name]
    }

    /// A command with these variables and no others. Its process is killed when it is dropped.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(&self.0)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// The result of a process that has ended.
#[derive(Debug)]
pub struct ProcessOutput {
    /// The exit status, or `None` if a signal ended the process.
    pub status: Option<i32>,
    /// Standard output, then standard error.
    pub text: String,
}

/// Runs a binary outside of Lambda and waits for its end.
pub async fn run(name: &str, arguments: &[&str], environment: &Environment) -> ProcessOutput {
    let mut command = environment.command(binary(name));
    let output = timeout(TIMEOUT, command.args(arguments).output())
        .await
        .expect("the process does not end")
        .expect("a process");
    let text = [output.stdout, output.stderr].concat();
    std::fs::write(log_folder().join(unique()), &text).expect("a log");
    ProcessOutput {
        status: output.status.code(),
        text: String::from_utf8_lossy(&text).into_owned(),
    }
}

/// Starts a binary outside of Lambda. It is killed when it is dropped.
pub fn spawn(name: &str, environment: &Environment) -> Child {
    environment
        .command(binary(name))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process")
}

/// The folder for the logs of a test run, in which `./dev test` searches for secrets after the tests.
pub fn log_folder() -> PathBuf {
    PathBuf::from(std::env::var_os("TEST_LOGS").expect("TEST_LOGS is not set; run `./dev test`"))
}
