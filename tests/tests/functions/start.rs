//! The settings that a function needs to start, and the messages about invalid ones.

use std::time::Duration;

use serde_json::{Value, json};
use tests::database::TestDatabase;
use tests::fixtures::Fixtures;
use tests::function::{Environment, Function, HttpEvent, run};
use tests::routes::{route, routes};
use tests::{openapi, unique};
use tokio::time::timeout;

const PASSWORD: &str = "s3cret-password";

/// Each kind of invalid `DATABASE_URL`, with a part of the error message.
const INVALID_URLS: [(&str, &str); 21] = [
    ("", "DATABASE_URL is missing"),
    ("sqlite:///./todo.db", "SQLite"),
    ("mysql://u:s3cret-password@ep-1.neon.tech/d", "MySQL"),
    ("file:/tmp/todo.db", "names a file"),
    ("not a url", "not a PostgreSQL connection string"),
    (
        "postgresql://u:s3cret-password@db.example.com/d",
        "not one of Neon's",
    ),
    (
        "postgresql://u:s3cret-password@localhost/d",
        "ALLOW_LOCAL_DATABASE",
    ),
    (
        "postgresql://u:s3cret-password@ep-1.neon.tech/d?sslmode=disable",
        "sslmode=require",
    ),
    (
        "postgresql://u:s3cret-password@ep-1.neon.tech/",
        "no database name",
    ),
    ("postgresql://u@ep-1.neon.tech/d", "no password"),
    ("postgresql://:s3cret-password@ep-1.neon.tech/d", "no role"),
    (
        "postgresql://u:s3cret-password@ep-1.neon.tech:port/d",
        "cannot be read",
    ),
    ("postgresql://u:s3cret-p@ssword@ep-1.neon.tech/d", "%40"),
    (
        "psql 'postgresql://u:s3cret-password@ep-1.neon.tech/d'",
        "a command",
    ),
    (
        "\"postgresql://u:s3cret-password@ep-1.neon.tech/d\"",
        "quotes",
    ),
    (
        "postgresql://u:s3cret-password@ep-1.neon.tech/d?sslmode=require'",
        "quotes",
    ),
    (
        "\u{feff}postgresql://u:s3cret-password@ep-1.neon.tech/d",
        "U+FEFF",
    ),
    (
        "postgresql://u:s3cret-password@ep-1.neon.tech/d\u{200b}",
        "U+200B",
    ),
    (
        "postgresql://u:s3cret-password@ep-1.neon.tech/d/",
        "a slash",
    ),
    (
        "postgresql://u:****@ep-1.neon.tech/d",
        "placeholder in place of the password",
    ),
    (
        "postgresql://u:[YOUR-PASSWORD]@ep-1.neon.tech/d",
        "placeholder in place of the password",
    ),
];

#[test]
fn every_route_has_details_for_the_tests() {
    // This panics with the file to edit if a function is missing in one place.
    let functions: Vec<_> = routes().iter().map(|route| route.function).collect();
    let with_database = openapi::functions();
    let with_database = with_database
        .iter()
        .filter(|function| !["health", "docs"].contains(&function.as_str()));
    assert!(with_database.eq(&functions), "{functions:?}");
}

#[tokio::test]
async fn no_function_starts_with_an_invalid_database_url() {
    let mut functions = openapi::functions();
    functions.retain(|function| function != "docs");
    functions.extend(["migrate", "purge-sessions"].map(str::to_owned));
    for (url, message) in INVALID_URLS {
        let environment = Environment::default()
            .with("DATABASE_URL", url)
            .without("DATABASE_URL_UNPOOLED")
            .without("ALLOW_LOCAL_DATABASE");
        // A function that requests an event there gets no response and hangs.
        let on_lambda = environment
            .clone()
            .with("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9");
        for function in &functions {
            // On Lambda, migrate requests events to tell CloudFormation what is wrong: see deployments.rs.
            let is_migrate = function == "migrate";
            let environment = if is_migrate { &environment } else { &on_lambda };
            let output = run(function, &[], environment).await;
            assert_eq!(
                output.status,
                Some(1),
                "{function} with {url}: {}",
                output.text
            );
            assert!(
                output.text.contains(message),
                "{function} with {url}: {}",
                output.text
            );
            assert!(
                !output.text.contains(PASSWORD) && !output.text.contains("s3cret-p"),
                "{function} with {url}"
            );
        }
    }
}

#[tokio::test]
async fn a_function_with_invalid_settings_requests_no_event() {
    let mut function =
        Function::start("list-tasks", &Environment::default().without("SECRET_KEY")).await;
    assert!(
        timeout(Duration::from_secs(20), function.requests_event())
            .await
            .is_ok_and(|asked| !asked)
    );
}

#[tokio::test]
async fn all_invalid_settings_are_reported_at_once() {
    let environment = Environment::default()
        .with(
            "DATABASE_URL",
            "postgresql://u@db.example.com/d?sslmode=prefer",
        )
        .with("SECRET_KEY", "short")
        .with("SSL_CERT_FILE", "/nowhere/ca.crt")
        .with("ACCESS_TOKEN_EXPIRE_MINUTES", "soon");
    let output = run("login", &[], &environment).await;
    assert_eq!(output.status, Some(1));
    for problem in [
        "sslmode",
        "db.example.com",
        "no password",
        "SECRET_KEY is too short",
        "/nowhere/ca.crt",
        "\"soon\"",
    ] {
        assert!(
            output.text.contains(problem),
            "{problem} is not in: {}",
            output.text
        );
    }
    assert_eq!(output.text.lines().count(), 6, "{}", output.text);
}

#[tokio::test]
async fn a_weak_secret_key_is_rejected() {
    for (key, message) in [
        ("", "SECRET_KEY is missing"),
        ("0123456789012345678901234567890", "too short"),
        (
            "your-super-secret-key-change-this-in-production",
            "placeholder",
        ),
        ("CHANGE-ME-CHANGE-ME-CHANGE-ME-CHANGE-ME", "placeholder"),
        ("00000000000000000000000000000000", "over and over"),
    ] {
        let output = run(
            "login",
            &[],
            &Environment::default().with("SECRET_KEY", key),
        )
        .await;
        assert_eq!(output.status, Some(1), "{}", output.text);
        assert!(output.text.contains(message), "{}", output.text);
        assert!(
            key.is_empty() || !output.text.contains(key),
            "the key is in: {}",
            output.text
        );
    }
}

#[tokio::test]
async fn a_published_or_invisible_key_is_rejected() {
    let good = format!("{}{}", unique(), unique());
    for (name, key, message) in [
        (
            "SECRET_KEY",
            "09D25E094FAA6CA2556C818166B7A9563B93F7099F6F0F4CAA6CF63B88E8D3E7".to_owned(),
            "public documentation",
        ),
        (
            "SECRET_KEY",
            "super_secret_jwt_token_with_at_least_32_characters_long".to_owned(),
            "public documentation",
        ),
        (
            "SECRET_KEY",
            "change_me_to_something_that_is_really_long".to_owned(),
            "a placeholder",
        ),
        ("SECRET_KEY", "s3cr".repeat(10), "over and over"),
        ("SECRET_KEY", format!("\"{good}\""), "in quotes"),
        ("SECRET_KEY", format!("{good}\u{200b}"), "U+200B"),
        (
            "SECRET_KEY_PREVIOUS",
            "changeme".to_owned(),
            "a placeholder",
        ),
        (
            "MAX_REGISTRATIONS_PER_ADDRESS",
            "\u{201c}300\u{201d}".to_owned(),
            "a quote",
        ),
        (
            "ACCESS_TOKEN_EXPIRE_MINUTES",
            "60\u{a0}".to_owned(),
            "U+00A0",
        ),
    ] {
        let environment = Environment::default().with(name, &key);
        let output = run("login", &[], &environment).await;
        assert_eq!(output.status, Some(1), "{}", output.text);
        assert_eq!(output.text.lines().count(), 1, "{}", output.text);
        for part in [name, message] {
            assert!(output.text.contains(part), "{part}: {}", output.text);
        }
        assert!(!output.text.contains(&key), "{name} is in: {}", output.text);
    }
}

#[tokio::test]
async fn days_of_a_session_that_no_time_can_hold_are_refused() {
    for days in ["0", "-1", "1.5", "month", "36501", "2147483648"] {
        let environment = Environment::default().with("SESSION_MAX_DAYS", days);
        let output = run("refresh", &[], &environment).await;
        assert_eq!(output.status, Some(1), "{}", output.text);
        for part in ["SESSION_MAX_DAYS", days, "from 1 to 36500", "for 30"] {
            assert!(output.text.contains(part), "{part}: {}", output.text);
        }
    }
}

#[tokio::test]
async fn white_space_around_settings_is_trimmed() {
    let mut environment = Environment::default();
    let padded = |name| {
        let value = std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
        format!(" \t{value}\r\n")
    };
    for name in ["DATABASE_URL", "SECRET_KEY", "ALLOW_LOCAL_DATABASE"] {
        environment = environment.with(name, padded(name));
    }
    environment = environment
        .with("ACCESS_TOKEN_EXPIRE_MINUTES", " 5 ")
        .with("METRICS_NAMESPACE", "\n");
    let mut function = Function::start("health", &environment).await;
    function.wait_until_ready().await;
    assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    assert!(!function.stop().await.contains("CloudWatchMetrics"));

    // A token that was signed under the key without white space is accepted.
    let user = Fixtures::in_environment(&Environment::default()).await;
    let case = user.route_case(route("me")).await;
    let json = json!({"SECRET_KEY": padded("SECRET_KEY"), "SESSION_MAX_DAYS": " 5 "});
    let with_json = environment
        .clone()
        .without("SECRET_KEY")
        .with("SETTINGS_JSON", json.to_string());
    for environment in [environment, with_json] {
        let me = Function::start("me", &environment).await;
        assert_eq!(me.http(&case.request()).await.status, 200);
    }
}

#[tokio::test]
async fn a_certificate_file_without_certificates_is_rejected() {
    let good = std::env::var("SSL_CERT_FILE").expect("an SSL_CERT_FILE");
    for path in [
        "/nowhere/ca.crt",
        "/",
        "/dev/null",
        &format!("{good}\n"),
        &format!("'{good}'"),
    ] {
        let output = run(
            "login",
            &[],
            &Environment::default().with("SSL_CERT_FILE", path),
        )
        .await;
        assert_eq!(output.status, Some(1), "{}", output.text);
        assert!(output.text.contains("SSL_CERT_FILE"), "{}", output.text);
    }
}

#[tokio::test]
async fn a_function_outside_lambda_explains_how_to_run_it() {
    let output = run("login", &[], &Environment::default()).await;
    assert_eq!(output.status, Some(1));
    assert!(output.text.contains("./dev up"), "{}", output.text);
}

#[tokio::test]
async fn the_log_names_the_database_and_no_secrets() {
    let environment = Environment::default().with("AWS_LAMBDA_LOG_LEVEL", "TRACE");
    let url = std::env::var("DATABASE_URL").expect("a DATABASE_URL");
    let password = url
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('@')?.0.split_once(':'))
        .expect("credentials")
        .1;
    let key = std::env::var("SECRET_KEY").expect("a SECRET_KEY");

    let mut function = Function::start("health", &environment).await;
    function.wait_until_ready().await;
    assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    let log = function.stop().await;
    for field in [
        "\"host\":\"localhost\"",
        "\"database\":",
        "\"role\":",
        "\"route\":\"direct\"",
        "\"tls_version\":\"1.3\"",
    ] {
        assert!(log.contains(field), "{field} is not in: {log}");
    }
    assert!(!log.contains(password) && !log.contains(&key));
}

#[tokio::test]
async fn psql_connects_to_the_place_that_the_functions_use() {
    // Prints what psql would read, but for the password, which is compared.
    const SHOW: &str = r#"
        printf '%s ' "$PGUSER" "$PGHOST" "$PGPORT" "$PGDATABASE" "$PGSSLMODE" "$PGCHANNELBINDING" "${PGOPTIONS-}"
        env | grep -c -e '^PGSERVICE=' -e '^PGHOSTADDR=' -e '^DATABASE_URL' -e '^SECRET_KEY'
        [ "$PGPASSWORD" = "$1" ]"#;
    let local = Environment::default()
        .without("APPLICATION_ROLE")
        .without("DATABASE_URL_UNPOOLED")
        .with("PGHOSTADDR", "10.0.0.1")
        .with("PGSERVICE", "another");
    for (url, password, expected) in [
        (
            "postgresql://o%2Fa:a/b?c#d&e=%25@localhost:5433/t%3Fo?sslmode=require",
            "a/b?c#d&e=%",
            "o/a localhost 5433 t?o verify-full prefer  0",
        ),
        (
            "postgresql://o:/@127.0.0.1/d?channel_binding=require&options=-c%20jit%3Doff",
            "/",
            "o 127.0.0.1 5432 d verify-full require -c jit=off 0",
        ),
        (
            "postgresql://o:#x?y@ep-1-pooler.eu.aws.neon.tech/d?options=endpoint%3Dep-1",
            "#x?y",
            "o ep-1.eu.aws.neon.tech 5432 d verify-full prefer  0",
        ),
    ] {
        let environment = local.clone().with("DATABASE_URL", url);
        let arguments = ["--psql", "sh", "-c", SHOW, "sh", password];
        let output = run("migrate", &arguments, &environment).await;
        assert_eq!(output.status, Some(0), "{url}: {}", output.text);
        assert_eq!(output.text.trim_end(), expected);
    }
    let unpooled = local.with("DATABASE_URL_UNPOOLED", "postgresql://owner:p@localhost/d");
    let output = run("migrate", &["--psql", "printenv", "PGUSER"], &unpooled).await;
    assert_eq!(output.text, "owner\n");
    let output = run("migrate", &["--psql", "/nowhere/psql"], &unpooled).await;
    assert_eq!(output.status, Some(1));
    assert!(output.text.contains("starting psql"), "{}", output.text);
}

#[tokio::test]
async fn functions_read_their_settings_from_json() {
    let environment = Environment::default();
    let settings = json!({
        "DATABASE_URL": environment.value("DATABASE_URL"),
        "SECRET_KEY": environment.value("SECRET_KEY"),
    });
    let environment = environment
        .without("DATABASE_URL")
        .without("SECRET_KEY")
        .with("SETTINGS_JSON", settings.to_string());
    let function = Function::start("health", &environment).await;
    assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    let log = function.stop().await;
    for name in ["DATABASE_URL", "SECRET_KEY"] {
        assert!(!log.contains(settings[name].as_str().expect("a text")));
    }
}

#[tokio::test]
async fn plain_variables_override_the_settings_in_json() {
    let json = r#"{"SECRET_KEY": "short", "DATABASE_URL": "mysql://", "ACCESS_TOKEN_EXPIRE_MINUTES": "soon"}"#;
    let environment = Environment::default()
        .with("SETTINGS_JSON", json)
        .with("ACCESS_TOKEN_EXPIRE_MINUTES", "5");
    let function = Function::start("health", &environment).await;
    assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    // A blank one is none.
    let environment = environment.with("SECRET_KEY", " ");
    let output = run("health", &[], &environment).await;
    assert!(
        output.text.contains("SECRET_KEY is too short"),
        "{}",
        output.text
    );
}

#[tokio::test]
async fn settings_in_json_that_cannot_be_read_are_refused() {
    for (json, message) in [
        ("s3cret-password", "SETTINGS_JSON is not JSON"),
        (
            "[\"s3cret-password\"]",
            "SETTINGS_JSON is not a JSON object",
        ),
        ("{\"SECRET_KEY\": [\"s3cret-password\"]}", "\"SECRET_KEY\""),
    ] {
        let environment = Environment::default().with("SETTINGS_JSON", json);
        for function in ["login", "purge-sessions", "migrate"] {
            let output = run(function, &[], &environment).await;
            assert_eq!(output.status, Some(1), "{function}");
            assert!(output.text.contains(message), "{}", output.text);
            assert!(!output.text.contains(PASSWORD), "{}", output.text);
        }
    }
}

#[tokio::test]
async fn a_key_is_rotated_in_three_steps_without_logging_out() {
    let database = TestDatabase::migrated().await;
    let [old, new] = [0, 1].map(|_| unique() + &unique());
    // What the secret holds: before, after each step, and after the last one.
    let secrets = [
        json!({"SECRET_KEY": old}),
        json!({"SECRET_KEY": old, "SECRET_KEY_PREVIOUS": new}),
        json!({"SECRET_KEY": new, "SECRET_KEY_PREVIOUS": old}),
        json!({"SECRET_KEY": new}),
    ];
    let environment = |state: &Value| {
        let environment = database.environment.clone().without("SECRET_KEY");
        environment.with("SETTINGS_JSON", state.to_string())
    };
    // While a step is deployed, each function is in the state before it or after it.
    for (number, pair) in secrets.windows(2).enumerate() {
        for (issuer, verifier) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let register = Function::start("register", &environment(&pair[issuer])).await;
            let me = Function::start("me", &environment(&pair[verifier])).await;
            let name = format!("user-{number}-{issuer}-{verifier}");
            let body = json!({
                "username": name,
                "email": format!("{name}@example.com"),
                "password": "long enough",
            });
            let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&body);
            let registered = register.http(&request).await;
            assert_eq!(registered.status, 201, "{}", registered.body);
            let token = registered.body["access_token"].as_str().expect("a token");
            let request = HttpEvent::new("GET", "/api/auth/me", &[]).bearer(token);
            let status = me.http(&request).await.status;
            assert_eq!(status, 200, "step {}: {issuer} {verifier}", number + 1);
        }
    }
    database.drop().await;
}

#[tokio::test]
async fn the_documentation_needs_no_settings() {
    let environment = ["DATABASE_URL", "SECRET_KEY", "SSL_CERT_FILE"]
        .into_iter()
        .fold(Environment::default(), Environment::without);
    let function = Function::start("docs", &environment).await;
    for path in ["/", "/docs", "/openapi.json"] {
        let event = HttpEvent::new("GET", path, &[]).to_event();
        let response = function.invoke(event).await.expect("a response");
        assert_eq!(response["statusCode"], 200, "{path}");
    }
}

#[tokio::test]
async fn the_purge_needs_no_secret_key() {
    let database = TestDatabase::migrated().await;
    let environment = database.environment.clone().without("SECRET_KEY");
    let function = Function::start("purge-sessions", &environment).await;
    let result = function.invoke(json!({})).await;
    assert!(result.is_ok(), "{result:?}");
    database.drop().await;
}
