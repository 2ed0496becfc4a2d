//! All 515 strings of the Big List of Naughty Strings, and a few more. A valid text is returned unchanged, byte for
//! byte. An invalid one is rejected.

use futures_util::{StreamExt as _, stream};
use naughty_strings::BLNS;
use serde_json::{Value, json};
use tests::api::registration;
use tests::assert_no_leak;
use tests::database::Database;
use tests::fixtures::register;
use tests::function::{Environment, Function, HttpEvent};
use tests::routes::{TASK, TASKS};

/// Strings that a list with one string per line cannot contain, and strings that a database might normalize.
const MORE: [&str; 10] = [
    "\n",
    "a\r\nb\n",
    "\u{2028}\u{2029}\u{85}",
    "\u{feff}",
    "\u{e9} e\u{301}",
    "\u{130}I\u{131}i\u{df}\u{1e9e}",
    "\\u0000",
    "\u{ffff}\u{10ffff}",
    "\u{202e}txt.exe\u{202c}",
    "trailing   \t",
];

fn strings() -> Vec<&'static str> {
    assert_eq!(BLNS.len(), 515);
    BLNS.iter().copied().chain(MORE).collect()
}

fn truncate(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// A task with a text in each text field, cut to the length limit of the field.
fn task(text: &str) -> Value {
    json!({
        "title": if text.is_empty() { "empty".to_owned() } else { truncate(text, 200) },
        "description": text,
        "due_date": truncate(text, 50),
        "tags": text,
        "recursion_pattern": truncate(text, 100),
    })
}

/// Asserts that a response or a row has the texts of a task.
#[track_caller]
fn assert_has_texts(found: &Value, sent: &Value) {
    for (name, text) in sent.as_object().expect("an object") {
        assert_eq!(&found[name], text, "{name}");
    }
}

#[tokio::test]
async fn task_texts_round_trip_byte_for_byte() {
    let environment = Environment::default();
    let (user_id, token) = register(&environment).await;
    let start = async |name| Function::start(name, &environment).await;
    let (create, update) = (start("create-task").await, start("update-task").await);
    let (get, list) = (start("get-task").await, start("list-tasks").await);
    let call = async |function: &Function, status: u64, request: HttpEvent| {
        let response = function.http(&request.bearer(&token)).await;
        assert_eq!(response.status, status, "{response:?}");
        response.body
    };
    let post = || HttpEvent::new("POST", TASKS, &[&user_id]);
    let one = |method, id: &str| HttpEvent::new(method, TASK, &[&user_id, id]);

    // Each task is created with one string and then changed to the next.
    let strings = strings();
    let pairs = strings.iter().zip(strings.iter().cycle().skip(1));
    let tasks = stream::iter(pairs).map(async |(text, next)| {
        let (sent, next) = (task(text), task(next));
        let new = call(&create, 201, post().json(&sent)).await;
        assert_has_texts(&new, &sent);
        let id = new["id"].to_string();
        assert_eq!(call(&get, 200, one("GET", &id)).await, new);
        let later = call(&update, 200, one("PUT", &id).json(&next)).await;
        assert_has_texts(&later, &next);
        assert_eq!(call(&get, 200, one("GET", &id)).await, later);
        (new["id"].as_i64(), next)
    });
    let mut tasks: Vec<_> = tasks.buffer_unordered(4).collect().await;
    tasks.sort_by_key(|(id, _)| *id);

    let database = Database::from_env().await;
    let rows = "SELECT * FROM task WHERE user_id = $1 ORDER BY id";
    let id: i32 = user_id.parse().expect("an id");
    let listed = call(&list, 200, HttpEvent::new("GET", TASKS, &[&user_id])).await;
    for found in [listed, Value::Array(database.query(rows, &[&id]).await)] {
        let found = found.as_array().expect("a list");
        assert_eq!(found.len(), tasks.len());
        for (found, (id, sent)) in found.iter().zip(&tasks) {
            assert_eq!(found["id"].as_i64(), *id);
            assert_has_texts(found, sent);
        }
    }
}

#[tokio::test]
async fn invalid_task_texts_are_422() {
    let environment = Environment::default();
    let (user_id, token) = register(&environment).await;
    let create = Function::start("create-task", &environment).await;
    for text in strings() {
        let length = text.chars().count();
        let expected: Vec<_> = [
            ("title", 1, 200),
            ("due_date", 0, 50),
            ("recursion_pattern", 0, 100),
        ]
        .into_iter()
        .filter(|(_, min, max)| !(*min..=*max).contains(&length))
        .map(|(name, ..)| name)
        .collect();
        if expected.is_empty() {
            continue;
        }
        let body = json!({"title": text, "description": text, "due_date": text, "tags": text, "recursion_pattern": text});
        let request = HttpEvent::new("POST", TASKS, &[&user_id]);
        let response = create.http(&request.bearer(&token).json(&body)).await;
        assert_eq!(response.status, 422, "{response:?}");
        assert_no_leak(
            response.status,
            &response.headers.to_string(),
            &response.body,
        );
        let violations = response.body["detail"].as_array().expect("a list");
        let locs: Vec<_> = violations
            .iter()
            .map(|violation| violation["loc"][1].as_str())
            .collect();
        assert_eq!(locs, expected.into_iter().map(Some).collect::<Vec<_>>());
        for violation in violations {
            assert_eq!(violation["input"], text);
        }
    }
}

#[tokio::test]
async fn usernames_and_emails_are_stored_unchanged_or_422() {
    let function = Function::start("register", &Environment::default()).await;
    for text in strings() {
        for field in ["username", "email"] {
            let mut user = registration();
            user[field] = json!(text);
            let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&user);
            let response = function.http(&request).await;
            match response.status {
                201 => assert_eq!(response.body[field], text),
                // An earlier test run may have registered it.
                409 => {}
                _ => {
                    assert_eq!(response.status, 422, "{text:?}");
                    assert_no_leak(
                        response.status,
                        &response.headers.to_string(),
                        &response.body,
                    );
                    let violation = &response.body["detail"][0];
                    assert_eq!(
                        (&violation["loc"][1], &violation["input"]),
                        (&json!(field), &json!(text))
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn registered_passwords_log_in() {
    let environment = Environment::default();
    let register = Function::start("register", &environment).await;
    let login = Function::start("login", &environment).await;
    let passwords = strings();
    let (valid, invalid): (Vec<_>, Vec<_>) = passwords
        .into_iter()
        .partition(|text| (8..=128).contains(&text.chars().count()));
    assert!(valid.len() > 300 && invalid.len() > 100);

    let attempts = stream::iter(valid).map(async |password| {
        let mut user = registration();
        user["password"] = json!(password);
        let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&user);
        assert_eq!(register.http(&request).await.status, 201, "{password:?}");
        let credentials = json!({"email": user["email"], "password": password});
        let request = HttpEvent::new("POST", "/api/auth/login", &[]).json(&credentials);
        assert_eq!(login.http(&request).await.status, 200, "{password:?}");
    });
    attempts.buffer_unordered(2).collect::<Vec<_>>().await;
    for password in invalid {
        let mut user = registration();
        user["password"] = json!(password);
        let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&user);
        let response = register.http(&request).await;
        assert_eq!(response.status, 422, "{password:?}");
        assert_no_leak(
            response.status,
            &response.headers.to_string(),
            &response.body,
        );
    }
}

#[tokio::test]
async fn unknown_credentials_are_401() {
    let login = Function::start("login", &Environment::default()).await;
    for text in strings() {
        let credentials = json!({"email": text, "password": text});
        let request = HttpEvent::new("POST", "/api/auth/login", &[]).json(&credentials);
        let response = login.http(&request).await;
        assert_eq!(response.status, 401, "{text:?}: {response:?}");
        assert_no_leak(
            response.status,
            &response.headers.to_string(),
            &response.body,
        );
    }
}
