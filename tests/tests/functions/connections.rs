//! How a function connects, and what it answers where it cannot.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::certificate::SelfSignedCertificate;
use tests::database::TestDatabase;
use tests::function::{Environment, Function, HttpEvent, HttpResponse};
use tests::neon_proxy::NeonProxy;
use tests::{chaos_proxy, database, root, skip, unique};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

/// Asks a function for the database and gives its answer and its log.
async fn ask(environment: &Environment) -> (HttpResponse, String) {
    let function = Function::start("health", environment).await;
    let answer = function.http(&HttpEvent::deep_health()).await;
    (answer, function.stop().await)
}

fn url_with(parameters: &str) -> String {
    let url = database::url().expect("a DATABASE_URL");
    format!("{}?{parameters}", url.split('?').next().expect("a URL"))
}

#[tokio::test]
async fn the_certificate_is_verified() {
    let stranger = SelfSignedCertificate::create();
    let (answer, log) = ask(&Environment::default().with("SSL_CERT_FILE", stranger.path())).await;
    answer.assert_unavailable();
    assert!(log.contains("certificate verify failed"), "{log}");
}

#[tokio::test]
async fn the_deployed_roots_let_in_no_one_elses_server() {
    let roots = root().join("certificates/neon.pem").display().to_string();
    let (answer, log) = ask(&Environment::default().with("SSL_CERT_FILE", roots)).await;
    answer.assert_unavailable();
    assert!(log.contains("certificate verify failed"), "{log}");
}

#[tokio::test]
async fn the_host_name_is_verified() {
    // The server's certificate names localhost, 127.0.0.1 and ::1.
    let proxy = chaos_proxy::ChaosProxy::start_on("127.0.0.2").await;
    let url = proxy.url().replacen("@localhost:", "@127.0.0.2:", 1);
    let (answer, log) = ask(&Environment::default().with("DATABASE_URL", url)).await;
    answer.assert_unavailable();
    assert!(
        log.contains("certificate verify failed") || log.contains("mismatch"),
        "{log}"
    );
}

#[tokio::test]
async fn channel_binding_can_be_required() {
    let (answer, log) =
        ask(&Environment::default().with("DATABASE_URL", url_with("channel_binding=require")))
            .await;
    assert_eq!(answer.status, 200, "{log}");
}

#[tokio::test]
async fn tls_can_begin_at_once() {
    let certificate = SelfSignedCertificate::create();
    let server = NeonProxy::start(&certificate).await;
    let (answer, log) = ask(&Environment::default()
        .with("DATABASE_URL", server.url())
        .with("SSL_CERT_FILE", certificate.path()))
    .await;
    assert_eq!(answer.status, 200, "{log}");
    assert_eq!(server.negotiated_protocol(), Some(b"postgresql".to_vec()));
}

#[tokio::test]
async fn a_server_that_does_not_expect_tls_at_once_is_named_with_what_to_write() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            // As PostgreSQL before version 17: what it reads is no startup message.
            let _ = client.read_u8().await;
        }
    });
    let url = format!("postgresql://u:p@localhost:{port}/d?sslnegotiation=direct");
    let (answer, log) = ask(&Environment::default().with("DATABASE_URL", url)).await;
    answer.assert_unavailable();
    assert!(log.contains("write sslnegotiation=postgres"), "{log}");
}

#[tokio::test]
async fn channel_binding_that_the_server_does_not_offer_is_named_with_what_to_write() {
    // A pooler offers none.
    let Some(url) = database::env_var("POOLED_DATABASE_URL") else {
        return skip("channel binding with a pooler", "there is none");
    };
    let url = format!("{url}&channel_binding=require");
    let started = Instant::now();
    let (answer, log) = ask(&Environment::default().with("DATABASE_URL", url)).await;
    answer.assert_unavailable();
    assert!(started.elapsed() < Duration::from_secs(3), "{log}");
    assert!(log.contains("write channel_binding=prefer"), "{log}");
}

#[tokio::test]
async fn the_server_knows_a_session_by_the_name_of_its_function() {
    let own = TestDatabase::migrated().await;
    let function = Function::start("health", &own.environment).await;
    assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    let names = "SELECT application_name FROM pg_stat_activity
                 WHERE datname = current_database() AND usename <> current_user";
    assert_eq!(
        own.owner.query(names, &[]).await,
        [json!({"application_name": "todo/health"})]
    );
    own.drop().await;
}

#[tokio::test]
async fn a_wrong_password_is_unavailable_and_not_repeated_in_the_log() {
    let url = database::url().expect("a DATABASE_URL");
    let (start, rest) = url.split_once('@').expect("credentials");
    let (role, _) = start.rsplit_once(':').expect("a password");
    let (answer, log) =
        ask(&Environment::default().with("DATABASE_URL", format!("{role}:s3cret-guess@{rest}")))
            .await;
    answer.assert_unavailable();
    assert!(log.contains("password authentication failed"), "{log}");
    assert!(!log.contains("s3cret-guess"), "{log}");
}

#[tokio::test]
async fn an_instance_keeps_one_connection() {
    let name = format!("test-{}", unique());
    let url = url_with(&format!("application_name={name}"));
    let function =
        Function::start("health", &Environment::default().with("DATABASE_URL", url)).await;
    for _ in 0..5 {
        assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    }
    let database = database::connect_or_skip("the number of connections")
        .await
        .expect("a DATABASE_URL");
    let count = "SELECT pid, ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE application_name = $1";
    let connections = database.query(count, &[&name]).await;
    assert_eq!(
        (connections.len(), &connections[0]["ssl"]),
        (1, &json!(true))
    );
}
