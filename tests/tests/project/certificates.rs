//! The root certificates that are deployed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tests::read;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

#[test]
fn the_deployed_roots_are_in_mozillas_program() {
    let file = read("certificates/neon.pem");
    let mut certificates = file.split("-----BEGIN CERTIFICATE-----");
    let mut name = certificates
        .next()
        .and_then(|text| text.lines().last())
        .expect("a name");
    let mut count = 0;
    for certificate in certificates {
        let (base64, rest) = certificate
            .split_once("-----END CERTIFICATE-----")
            .expect("an end");
        let der = STANDARD.decode(base64.replace('\n', "")).expect("base64");
        let is_trusted = TLS_SERVER_ROOT_CERTS
            .iter()
            .any(|root| root.as_ref() == der);
        assert!(
            is_trusted,
            "{name}: remove it from certificates/neon.pem, because Mozilla no longer trusts it"
        );
        name = rest.trim();
        count += 1;
    }
    assert_eq!(count, 8);
}
