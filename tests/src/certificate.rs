//! A self-signed certificate for test servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use native_tls::Identity;

use crate::unique;

/// A self-signed certificate for `localhost`. Its files are deleted when it is dropped.
pub struct SelfSignedCertificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl SelfSignedCertificate {
    /// Creates a certificate with openssl.
    pub fn create() -> Self {
        let path = |ending| std::env::temp_dir().join(format!("{}.{ending}", unique()));
        let (certificate, key) = (path("crt"), path("key"));
        let output = Command::new("openssl")
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
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self { certificate, key }
    }

    /// The path of the certificate, for `SSL_CERT_FILE`.
    pub fn path(&self) -> &str {
        self.certificate.to_str().expect("a path in UTF-8")
    }

    /// The certificate and its key, for a server.
    pub(crate) fn identity(&self) -> Identity {
        let read = |path: &Path| std::fs::read(path).expect("a file");
        Identity::from_pkcs8(&read(&self.certificate), &read(&self.key)).expect("an identity")
    }
}

impl Drop for SelfSignedCertificate {
    fn drop(&mut self) {
        for path in [&self.certificate, &self.key] {
            // The system cleans up its temporary folder anyway.
            let _ = std::fs::remove_file(path);
        }
    }
}
