//! Clients behind proxies: `TRUSTED_PROXIES` and `X-Forwarded-For`.

use tests::api::registration;
use tests::database::TestDatabase;
use tests::function::{Environment, Function, HttpEvent, run};

const PROXY: &str = "10.1.2.3";
const OTHER_PROXY: &str = "2001:db8:ffff::7";
const STRANGER: &str = "192.0.2.99";

/// The status of a registration, of which each address has one.
async fn register(function: &Function, source: &str, forwarded_for: Option<&str>) -> u64 {
    let event = HttpEvent::new("POST", "/api/auth/register", &[])
        .json(&registration())
        .source_ip(source);
    let event = match forwarded_for {
        Some(value) => event.header("x-forwarded-for", value),
        None => event,
    };
    function.http(&event).await.status
}

async fn start(trusted_proxies: Option<&str>) -> (TestDatabase, Function) {
    let database = TestDatabase::migrated().await;
    let environment = database
        .environment
        .clone()
        .with("MAX_REGISTRATIONS_PER_ADDRESS", "1");
    let environment = match trusted_proxies {
        Some(list) => environment.with("TRUSTED_PROXIES", list),
        None => environment,
    };
    let function = Function::start("register", &environment).await;
    (database, function)
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_told_apart() {
    let (database, function) = start(Some("10.0.0.0/8, 2001:db8:ffff::/48")).await;
    for (source, forwarded_for, status) in [
        (PROXY, "203.0.113.1", 201),
        (PROXY, "203.0.113.2", 201),
        (PROXY, "203.0.113.1", 429),
        // The same client by another way.
        (OTHER_PROXY, "203.0.113.1, 10.9.9.9", 429),
        ("::ffff:10.1.2.3", "::ffff:203.0.113.1", 429),
        ("203.0.113.1", "198.51.100.1", 429),
        // What the client itself has sent is not read.
        (PROXY, "198.51.100.2, 203.0.113.1", 429),
        (PROXY, "nonsense, 203.0.113.1", 429),
        // Of an IPv6 address the network counts, as without a proxy.
        (PROXY, "2001:db8:1:2::1", 201),
        (PROXY, "2001:db8:1:2::2", 429),
        (PROXY, "2001:db8:1:3::2", 201),
    ] {
        let found = register(&function, source, Some(forwarded_for)).await;
        assert_eq!(found, status, "{source}: {forwarded_for}");
    }
    database.drop().await;
}

#[tokio::test]
async fn a_malformed_x_forwarded_for_counts_as_absent() {
    let (database, function) = start(Some(PROXY)).await;
    assert_eq!(register(&function, PROXY, None).await, 201);
    for forwarded_for in [
        "",
        "unknown",
        "203.0.113.1, nonsense",
        "203.0.113.1/24",
        "\u{e9}",
    ] {
        let status = register(&function, PROXY, Some(forwarded_for)).await;
        assert_eq!(status, 429, "{forwarded_for}");
    }
    assert_eq!(register(&function, PROXY, Some("203.0.113.1")).await, 201);
    database.drop().await;
}

#[tokio::test]
async fn nobody_else_can_choose_an_address() {
    for trusted_proxies in [None, Some("10.0.0.0/8")] {
        let (database, function) = start(trusted_proxies).await;
        assert_eq!(register(&function, STRANGER, None).await, 201);
        for forwarded_for in ["203.0.113.1", PROXY, "203.0.113.1, 10.1.2.3"] {
            let status = register(&function, STRANGER, Some(forwarded_for)).await;
            assert_eq!(status, 429, "{trusted_proxies:?}: {forwarded_for}");
        }
        database.drop().await;
    }
}

#[tokio::test]
async fn an_invalid_list_of_proxies_fails_the_start() {
    for (list, message) in [
        (
            "10.0.0.0/8, proxy.example.com",
            "TRUSTED_PROXIES holds \"proxy.example.com\"",
        ),
        ("10.0.0.0/33", "TRUSTED_PROXIES holds \"10.0.0.0/33\""),
        ("0.0.0.0/0", "TRUSTED_PROXIES trusts all addresses"),
        ("10.0.0.0/8,::/0", "TRUSTED_PROXIES trusts all addresses"),
    ] {
        let environment = Environment::default().with("TRUSTED_PROXIES", list);
        let output = run("login", &[], &environment).await;
        assert!(output.text.contains(message), "{}", output.text);
        assert_eq!(output.status, Some(1));
    }
}
