//! The Big List of Naughty Strings, all 515 of it, and some more: what is a good text comes back as it went in, byte for
//! byte, and what is not is refused.

use futures_util::{StreamExt as _, stream};
use naughty_strings::BLNS;
use serde_json::{Value, json};
use tests::api::registration;
use tests::assert_no_leak;
use tests::database::Database;
use tests::function::{Environment, Function, HttpEvent};

use tests::fixtures::register;
use tests::routes::{TASK, TASKS};

/// What a list with one string in a line cannot hold, and what a database might take for the same.
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

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// A task with a text in each field that holds one, as much of it as the field takes.
fn task(text: &str) -> Value {
    json!({
        "title": if text.is_empty() { "empty".to_owned() } else { cut(text, 200) },
        "description": text,
        "due_date": cut(text, 50),
        "tags": text,
        "recursion_pattern": cut(text, 100),
    })
}

/// Sees that an answer or a row has the texts of a task.
#[track_caller]
fn has(found: &Value, sent: &Value) {
    for (name, text) in sent.as_object().expect("an object") {
        assert_eq!(&found[name], text, "{name}");
    }
}

#[tokio::test]
async fn every_text_of_a_task_comes_back_byte_for_byte() {
    let environment = Environment::default();
    let (user_id, token) = register(&environment).await;
    let start = async |name| Function::start(name, &environment).await;
    let (create, update) = (start("create-task").await, start("update-task").await);
    let (get, list) = (start("get-task").await, start("list-tasks").await);
    let ask = async |function: &Function, status: u64, request: HttpEvent| {
        let answer = function.http(&request.bearer(&token)).await;
        assert_eq!(answer.status, status, "{answer:?}");
        answer.body
    };
    let post = || HttpEvent::new("POST", TASKS, &[&user_id]);
    let one = |method, id: &str| HttpEvent::new(method, TASK, &[&user_id, id]);

    // Each is created with one string, and changed to the next.
    let strings = strings();
    let pairs = strings.iter().zip(strings.iter().cycle().skip(1));
    let tasks = stream::iter(pairs).map(async |(text, next)| {
        let (sent, next) = (task(text), task(next));
        let new = ask(&create, 201, post().json(&sent)).await;
        has(&new, &sent);
        let id = new["id"].to_string();
        assert_eq!(ask(&get, 200, one("GET", &id)).await, new);
        let later = ask(&update, 200, one("PUT", &id).json(&next)).await;
        has(&later, &next);
        assert_eq!(ask(&get, 200, one("GET", &id)).await, later);
        (new["id"].as_i64(), next)
    });
    let mut tasks: Vec<_> = tasks.buffer_unordered(4).collect().await;
    tasks.sort_by_key(|(id, _)| *id);

    let url = tests::database::url().expect("a DATABASE_URL");
    let database = Database::connect(&url).await;
    let rows = "SELECT * FROM task WHERE user_id = $1 ORDER BY id";
    let id: i32 = user_id.parse().expect("an id");
    let listed = ask(&list, 200, HttpEvent::new("GET", TASKS, &[&user_id])).await;
    for found in [listed, Value::Array(database.query(rows, &[&id]).await)] {
        let found = found.as_array().expect("a list");
        assert_eq!(found.len(), tasks.len());
        for (found, (id, sent)) in found.iter().zip(&tasks) {
            assert_eq!(found["id"].as_i64(), *id);
            has(found, sent);
        }
    }
}

#[tokio::test]
async fn a_text_that_a_task_cannot_have_is_refused() {
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
        let answer = create.http(&request.bearer(&token).json(&body)).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_no_leak(answer.status, &answer.headers.to_string(), &answer.body);
        let broken = answer.body["detail"].as_array().expect("a list");
        let places: Vec<_> = broken.iter().map(|one| one["loc"][1].as_str()).collect();
        assert_eq!(places, expected.into_iter().map(Some).collect::<Vec<_>>());
        for broken in broken {
            assert_eq!(broken["input"], text);
        }
    }
}

#[tokio::test]
async fn a_name_or_an_address_is_taken_as_it_is_or_refused() {
    let function = Function::start("register", &Environment::default()).await;
    for text in strings() {
        for field in ["username", "email"] {
            let mut user = registration();
            user[field] = json!(text);
            let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&user);
            let answer = function.http(&request).await;
            match answer.status {
                201 => assert_eq!(answer.body[field], text),
                // Another run of the tests may have registered it.
                409 => {}
                _ => {
                    assert_eq!(answer.status, 422, "{text:?}");
                    assert_no_leak(answer.status, &answer.headers.to_string(), &answer.body);
                    let broken = &answer.body["detail"][0];
                    assert_eq!(
                        (&broken["loc"][1], &broken["input"]),
                        (&json!(field), &json!(text))
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_password_opens_the_account_that_was_registered_with_it() {
    let environment = Environment::default();
    let register = Function::start("register", &environment).await;
    let login = Function::start("login", &environment).await;
    let passwords = strings();
    let (good, bad): (Vec<_>, Vec<_>) = passwords
        .into_iter()
        .partition(|text| (8..=128).contains(&text.chars().count()));
    assert!(good.len() > 300 && bad.len() > 100);

    let attempts = stream::iter(good).map(async |password| {
        let mut user = registration();
        user["password"] = json!(password);
        let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&user);
        assert_eq!(register.http(&request).await.status, 201, "{password:?}");
        let credentials = json!({"email": user["email"], "password": password});
        let request = HttpEvent::new("POST", "/api/auth/login", &[]).json(&credentials);
        assert_eq!(login.http(&request).await.status, 200, "{password:?}");
    });
    attempts.buffer_unordered(2).collect::<Vec<_>>().await;
    for password in bad {
        let mut user = registration();
        user["password"] = json!(password);
        let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&user);
        let answer = register.http(&request).await;
        assert_eq!(answer.status, 422, "{password:?}");
        assert_no_leak(answer.status, &answer.headers.to_string(), &answer.body);
    }
}

#[tokio::test]
async fn nobody_logs_in_with_a_text_that_is_no_ones() {
    let login = Function::start("login", &Environment::default()).await;
    for text in strings() {
        let credentials = json!({"email": text, "password": text});
        let request = HttpEvent::new("POST", "/api/auth/login", &[]).json(&credentials);
        let answer = login.http(&request).await;
        assert_eq!(answer.status, 401, "{text:?}: {answer:?}");
        assert_no_leak(answer.status, &answer.headers.to_string(), &answer.body);
    }
}
