//! A certificate that nobody trusts unless told to.

use std::path::{Path, PathBuf};
use std::process::Command;

use native_tls::Identity;

use crate::unique;

/// A self-signed certificate for `localhost`, in files that go with it.
pub struct SelfSignedCertificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl SelfSignedCertificate {
    /// Makes one.
    pub fn create() -> Self {
        let path = |ending| std::env::temp_dir().join(format!("{}.{ending}", unique()));
        let (certificate, key) = (path("crt"), path("key"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "1",
            ])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
                "-keyout",
            ])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        Self { certificate, key }
    }

    /// The file to trust, where it is to be trusted.
    pub fn path(&self) -> &str {
        self.certificate.to_str().expect("a path in UTF-8")
    }

    /// What a server needs to bear it.
    pub(crate) fn identity(&self) -> Identity {
        let read = |path: &Path| std::fs::read(path).expect("a file");
        Identity::from_pkcs8(&read(&self.certificate), &read(&self.key)).expect("an identity")
    }
}

impl Drop for SelfSignedCertificate {
    fn drop(&mut self) {
        for path in [&self.certificate, &self.key] {
            // Where it cannot be removed, the system's own cleaning will do.
            let _ = std::fs::remove_file(path);
        }
    }
}
