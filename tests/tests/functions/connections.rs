//! Connections of a function to the database, and errors of them.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::certificate::SelfSignedCertificate;
use tests::chaos_proxy::ChaosProxy;
use tests::database::{Database, TestDatabase};
use tests::function::{Environment, Function, HttpEvent, HttpResponse};
use tests::neon_proxy::NeonProxy;
use tests::{database, root, skip, unique};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

/// Runs the deep health check and returns the response and the log.
async fn deep_health(environment: &Environment) -> (HttpResponse, String) {
    let function = Function::start("health", environment).await;
    let response = function.http(&HttpEvent::deep_health()).await;
    (response, function.stop().await)
}

fn url_with(parameters: &str) -> String {
    let url = database::url().expect("a DATABASE_URL");
    format!("{}?{parameters}", url.split('?').next().expect("a URL"))
}

#[tokio::test]
async fn the_server_certificate_is_verified() {
    let untrusted = SelfSignedCertificate::create();
    let (response, log) =
        deep_health(&Environment::default().with("SSL_CERT_FILE", untrusted.path())).await;
    response.assert_unavailable();
    assert!(log.contains("certificate verify failed"), "{log}");
}

#[tokio::test]
async fn deployed_roots_reject_other_certificate_authorities() {
    let roots = root().join("certificates/neon.pem").display().to_string();
    let (response, log) = deep_health(&Environment::default().with("SSL_CERT_FILE", roots)).await;
    response.assert_unavailable();
    assert!(log.contains("certificate verify failed"), "{log}");
}

#[tokio::test]
async fn the_host_name_is_verified() {
    // The server's certificate names localhost, 127.0.0.1 and ::1.
    let proxy = ChaosProxy::start_on("127.0.0.2").await;
    let url = proxy.url().replacen("@localhost:", "@127.0.0.2:", 1);
    let (response, log) = deep_health(&Environment::default().with("DATABASE_URL", url)).await;
    response.assert_unavailable();
    assert!(
        log.contains("certificate verify failed") || log.contains("mismatch"),
        "{log}"
    );
}

#[tokio::test]
async fn channel_binding_can_be_required() {
    let (response, log) = deep_health(
        &Environment::default().with("DATABASE_URL", url_with("channel_binding=require")),
    )
    .await;
    assert_eq!(response.status, 200, "{log}");
}

#[tokio::test]
async fn direct_tls_negotiation_works() {
    let certificate = SelfSignedCertificate::create();
    let server = NeonProxy::start(&certificate).await;
    let (response, log) = deep_health(
        &Environment::default()
            .with("DATABASE_URL", server.url())
            .with("SSL_CERT_FILE", certificate.path()),
    )
    .await;
    assert_eq!(response.status, 200, "{log}");
    assert_eq!(server.negotiated_protocol(), Some(b"postgresql".to_vec()));
}

#[tokio::test]
async fn the_log_explains_missing_direct_tls_support() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            // PostgreSQL before version 17 closes the connection, since this is not a startup message.
            let _ = client.read_u8().await;
        }
    });
    let url = format!("postgresql://u:p@localhost:{port}/d?sslnegotiation=direct");
    let (response, log) = deep_health(&Environment::default().with("DATABASE_URL", url)).await;
    response.assert_unavailable();
    assert!(log.contains("write sslnegotiation=postgres"), "{log}");
}

#[tokio::test]
async fn the_log_explains_missing_channel_binding() {
    // A pooler does not offer channel binding.
    let Some(url) = database::env_var("POOLED_DATABASE_URL") else {
        return skip("channel binding with a pooler", "there is no pooler");
    };
    let url = format!("{url}&channel_binding=require");
    let started = Instant::now();
    let (response, log) = deep_health(&Environment::default().with("DATABASE_URL", url)).await;
    response.assert_unavailable();
    // It does not try again until the time to connect is over.
    assert!(started.elapsed() < Duration::from_secs(5), "{log}");
    assert!(log.contains("write channel_binding=prefer"), "{log}");
}

#[tokio::test]
async fn the_application_name_is_the_function() {
    let database = TestDatabase::migrated().await;
    let function = Function::start("health", &database.environment).await;
    assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    let names = "SELECT application_name FROM pg_stat_activity
                 WHERE datname = current_database() AND usename <> current_user";
    assert_eq!(
        database.owner.query(names, &[]).await,
        [json!({"application_name": "todo/health"})]
    );
    database.drop().await;
}

#[tokio::test]
async fn a_wrong_database_password_is_503_and_not_logged() {
    let url = database::url().expect("a DATABASE_URL");
    let (start, rest) = url.split_once('@').expect("credentials");
    let (role, _) = start.rsplit_once(':').expect("a password");
    let (response, log) = deep_health(
        &Environment::default().with("DATABASE_URL", format!("{role}:s3cret-password@{rest}")),
    )
    .await;
    response.assert_unavailable();
    assert!(log.contains("password authentication failed"), "{log}");
    assert!(!log.contains("s3cret-password"), "{log}");
}

#[tokio::test]
async fn an_instance_reuses_one_connection() {
    let name = format!("test-{}", unique());
    let url = url_with(&format!("application_name={name}"));
    let function =
        Function::start("health", &Environment::default().with("DATABASE_URL", url)).await;
    for _ in 0..5 {
        assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    }
    let database = Database::from_env().await;
    let count = "SELECT pid, ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE application_name = $1";
    let connections = database.query(count, &[&name]).await;
    assert_eq!(
        (connections.len(), &connections[0]["ssl"]),
        (1, &json!(true))
    );
}
