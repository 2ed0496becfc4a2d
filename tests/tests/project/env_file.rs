//! How `./dev` reads a file `.env`: as docker compose and python-dotenv do.

use std::path::PathBuf;
use std::process::{Command, Output};

use tests::{root, unique};

/// A folder with a file `.env`, which is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn with_env_file(content: &[u8]) -> Self {
        let folder = std::env::temp_dir().join(format!("todo-env-{}", unique()));
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join(".env"), content).expect("a file");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the folder for temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a command of `./dev` finds in variables after it has read a file `.env`, each with a line feed at its end.
fn read(content: &[u8], names: &[&str], environment: &[(&str, &str)]) -> Output {
    const SCRIPT: &str = r#"
        set -euo pipefail
        project=$1 state=$1/.dev
        shift
        for file in lib packages tools settings; do . "$project/scripts/$file.sh"; done
        read_env_file
        for name; do printf '%s\n' "${!name-(unset)}"; done"#;
    let folder = Folder::with_env_file(content);
    let mut bash = Command::new("bash");
    bash.args(["-c", SCRIPT, "bash"]).arg(root()).args(names);
    bash.current_dir(&folder.0).env("LC_ALL", "C.UTF-8");
    for name in names {
        bash.env_remove(name);
    }
    bash.envs(environment.iter().copied());
    bash.output().expect("bash")
}

#[track_caller]
fn assert_reads(content: &[u8], expected: &[(&str, &str)]) -> String {
    let names: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
    let output = read(content, &names, &[]);
    let log = String::from_utf8(output.stderr).expect("UTF-8");
    let values = String::from_utf8(output.stdout).expect("UTF-8");
    let expected: Vec<_> = expected.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, expected.join("\n") + "\n", "{log}");
    log
}

#[track_caller]
fn assert_refused(content: &[u8], because: &str) {
    let output = read(content, &["DATABASE_URL"], &[]);
    let log = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(
        (output.status.code(), output.stdout),
        (Some(1), Vec::new()),
        "{log}"
    );
    assert!(log.contains(because), "{because:?} is not in: {log}");
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn the_last_of_two_lines_with_one_name_counts() {
    assert_reads(
        b"DATABASE_URL=one\nSECRET_KEY=key\nDATABASE_URL=two\n",
        &[("DATABASE_URL", "two"), ("SECRET_KEY", "key")],
    );
}

#[test]
fn values_are_read_as_python_dotenv_reads_them() {
    assert_reads(
        b"# a comment\r\nexport PORT = 8001\r\n\r\n\
          DATABASE_URL='postgresql://u:p$a#ss@h/d' # another\r\n\
          SECRET_KEY=a#b c # d\r\nAPPLICATION_ROLE=\"two\r\nlines\"\r\n\
          SSL_CERT_FILE=${PORT}.pem\r\nMETRICS_NAMESPACE=",
        &[
            ("PORT", "8001"),
            ("DATABASE_URL", "postgresql://u:p$a#ss@h/d"),
            ("SECRET_KEY", "a#b c"),
            ("APPLICATION_ROLE", "two\r\nlines"),
            ("SSL_CERT_FILE", "8001.pem"),
            ("METRICS_NAMESPACE", ""),
        ],
    );
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let text = "DATABASE_URL=postgresql://h/\u{e4}\r\nPORT=8001\r\n";
    let expected = [("DATABASE_URL", "postgresql://h/\u{e4}"), ("PORT", "8001")];
    assert_reads(format!("\u{feff}{text}").as_bytes(), &expected);
    let utf16: Vec<u16> = format!("\u{feff}{text}").encode_utf16().collect();
    let little: Vec<u8> = utf16.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let big: Vec<u8> = utf16.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    assert_reads(&little, &expected);
    assert_reads(&big, &expected);
}

#[test]
fn lines_of_other_programs_are_passed_over_with_a_note() {
    let log = assert_reads(
        b"spring.datasource.password=s3cret\nPORT=8001\n-----BEGIN s3cret-----\ns3cret: s3cret\ns3cret\nnext-public=s3cret\n",
        &[("PORT", "8001")],
    );
    assert!(log.contains("Passed over lines 1, 3, 4, 5, 6"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn environment_variables_override_the_file() {
    let output = read(
        b"PORT=1\nPOSTGRES=${PORT}\n",
        &["PORT", "POSTGRES"],
        &[("PORT", "2")],
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2\n2\n");
}

#[test]
fn a_setting_that_cannot_be_read_is_an_error() {
    for (content, because) in [
        (
            &b"PORT=1\nDATABASE_URL=\"s3cret\n"[..],
            "line 2: this is not DATABASE_URL=VALUE",
        ),
        (
            b"DATABASE_URL: s3cret\n",
            "line 1: this is not DATABASE_URL=VALUE",
        ),
        (
            b"\n\n  DATABASE_URL 's3cret'\n",
            "line 3: this is not DATABASE_URL=VALUE",
        ),
        (
            "DATABASE_URL\u{200b}=s3cret\n".as_bytes(),
            "line 1: this is not DATABASE_URL=VALUE",
        ),
        (
            "PORT=1\n\u{feff}DATABASE_URL=s3cret\n".as_bytes(),
            "line 2: this is not DATABASE_URL=VALUE",
        ),
        (b"DATABASE_URL=s3cret-\xe4\n", "not in UTF-8"),
        (b"P\0O\0R\0T\0=\x008\0\n\0", "Save it in UTF-8"),
    ] {
        assert_refused(content, because);
    }
}
