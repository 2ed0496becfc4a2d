//! Guessing at passwords, and registering without end.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::api::{PASSWORD, registration};
use tests::database::TestDatabase;
use tests::function::{Environment, Function, HttpEvent, HttpResponse};
use tests::{random, unique};

const LOGIN: &str = "/api/auth/login";
const REGISTER: &str = "/api/auth/register";
const MINUTE: i64 = 60;

/// An address that no other test has.
fn address() -> String {
    let part = || random(256);
    format!("10.{}.{}.{}", part(), part(), part())
}

fn guess(email: &str, password: &str, address: &str) -> HttpEvent {
    HttpEvent::new("POST", LOGIN, &[])
        .json(&json!({"email": email, "password": password}))
        .source_ip(address)
}

/// How long the client is told to wait, where it is.
#[track_caller]
fn wait(answer: &HttpResponse) -> Option<i64> {
    if answer.status != 429 {
        return None;
    }
    assert_eq!(
        answer.body,
        json!({"detail": "Too many attempts, try again later"})
    );
    let seconds = answer.headers["retry-after"].as_str().expect("a time");
    Some(seconds.parse().expect("seconds"))
}

/// A database of its own, with limits as they are unless a test says otherwise, and an account in it.
struct Throttled {
    own: TestDatabase,
    environment: Environment,
    login: Function,
    email: String,
    user_id: String,
    token: String,
}

impl Throttled {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(limits: &[(&str, &str)]) -> Self {
        let own = TestDatabase::migrated().await;
        let environment = own
            .environment
            .clone()
            .without("MAX_FAILED_LOGINS_PER_ADDRESS")
            .without("MAX_REGISTRATIONS_PER_ADDRESS");
        let environment = limits
            .iter()
            .fold(environment, |environment, (name, limit)| {
                environment.with(name, *limit)
            });
        let user = registration();
        let register = Function::start("register", &environment).await;
        let request = HttpEvent::new("POST", REGISTER, &[]).json(&user);
        let registered = register.http(&request.source_ip(&address())).await.body;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Self {
            login: Function::start("login", &environment).await,
            environment,
            own,
            email: text(&user["email"]),
            user_id: text(&registered["user_id"]),
            token: text(&registered["access_token"]),
        }
    }

    /// Guesses, and gives the status of each answer.
    async fn guesses(&self, count: usize, email: &str, password: &str, address: &str) -> Vec<u64> {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(
                self.login
                    .http(&guess(email, password, address))
                    .await
                    .status,
            );
        }
        statuses
    }

    /// Guesses wrong until that is refused, and gives the number of guesses and the time to wait.
    async fn guess_until_refused(&self, email: &str, address: &str) -> (usize, i64) {
        for count in 0..50 {
            let answer = self.login.http(&guess(email, "wrong", address)).await;
            match wait(&answer) {
                Some(seconds) => return (count, seconds),
                None => assert_eq!(answer.status, 401, "{answer:?}"),
            }
        }
        panic!("never refused");
    }

    /// Lets time pass.
    async fn pass(&self, seconds: i64) {
        let pass = format!(
            "UPDATE attempt SET window_ends_at = window_ends_at - interval '{seconds} s',
                                known_until = known_until - interval '{seconds} s',
                                expires_at = expires_at - interval '{seconds} s'"
        );
        self.own.owner.batch_execute(&pass).await;
    }

    async fn attempts(&self) -> Vec<Value> {
        self.own
            .owner
            .query("SELECT * FROM attempt ORDER BY key", &[])
            .await
    }
}

#[tokio::test]
async fn the_eleventh_guess_is_refused_from_there_and_the_owner_is_not() {
    let throttled = Throttled::new().await;
    let (email, there) = (throttled.email.clone(), address());
    assert_eq!(
        throttled.guesses(10, &email, "wrong", &there).await,
        [401; 10]
    );
    // Right or wrong, and whatever a header says.
    let refused = throttled.guesses(2, &email, PASSWORD, &there).await;
    assert_eq!(refused, [429; 2]);
    let request = guess(&email, PASSWORD, &there).header("x-forwarded-for", "203.0.113.1");
    assert!(wait(&throttled.login.http(&request).await).is_some());
    // The address in another case is the same account.
    assert_eq!(
        throttled
            .guesses(1, &email.to_uppercase(), PASSWORD, &there)
            .await,
        [429]
    );
    assert_eq!(
        throttled.guesses(1, &email, PASSWORD, &address()).await,
        [200]
    );
    throttled.own.drop().await;
}

#[tokio::test]
async fn the_wait_is_over_in_time_grows_when_it_is_earned_again_and_is_not_prolonged_by_waiting() {
    let throttled = Throttled::new().await;
    let (email, there) = (throttled.email.clone(), address());
    for minutes in [15, 30, 60, 60] {
        let (count, seconds) = throttled.guess_until_refused(&email, &there).await;
        assert_eq!(count, 10);
        assert!(
            (minutes * MINUTE - 20..=minutes * MINUTE).contains(&seconds),
            "{seconds}"
        );
        let before = throttled.attempts().await;
        assert_eq!(
            throttled.guesses(15, &email, PASSWORD, &there).await,
            [429; 15]
        );
        assert_eq!(throttled.attempts().await, before);
        throttled.pass(seconds).await;
    }
    // The owner gets in after the wait, and begins anew.
    assert_eq!(throttled.guesses(1, &email, PASSWORD, &there).await, [200]);
    let (count, seconds) = throttled.guess_until_refused(&email, &there).await;
    assert_eq!((count, seconds <= 15 * MINUTE), (10, true));
    throttled.own.drop().await;
}

#[tokio::test]
async fn an_unknown_email_is_throttled_like_a_known_one() {
    let throttled = Throttled::new().await;
    let unknown = format!("{}@example.com", unique());
    let [known, unknown] = [&throttled.email, &unknown].map(async |email| {
        let there = address();
        let mut answers = Vec::new();
        for _ in 0..12 {
            let answer = throttled.login.http(&guess(email, "wrong", &there)).await;
            let mut headers = answer.headers.clone();
            // It says how much time is left.
            headers["retry-after"] = json!(wait(&answer).map(|seconds| (seconds + 30) / MINUTE));
            headers["x-request-id"].take();
            answers.push((answer.status, headers, answer.body));
        }
        answers
    });
    assert_eq!(known.await, unknown.await);
    throttled.own.drop().await;
}

#[tokio::test]
async fn strangers_cannot_keep_an_owner_out() {
    let throttled = Throttled::with(&[("MAX_FAILED_LOGINS_PER_ACCOUNT", "5")]).await;
    let (email, home) = (throttled.email.clone(), address());
    assert_eq!(throttled.guesses(1, &email, PASSWORD, &home).await, [200]);
    for _ in 0..5 {
        assert_eq!(
            throttled.guesses(1, &email, "wrong", &address()).await,
            [401]
        );
    }
    // From anywhere new there is no more guessing, from home there is.
    assert_eq!(
        throttled.guesses(1, &email, PASSWORD, &address()).await,
        [429]
    );
    assert_eq!(
        throttled.guesses(3, &email, PASSWORD, &home).await,
        [200; 3]
    );
    throttled.pass(15 * MINUTE).await;
    assert_eq!(
        throttled.guesses(1, &email, PASSWORD, &address()).await,
        [200]
    );
    throttled.own.drop().await;
}

#[tokio::test]
async fn an_address_may_fail_so_often_in_all() {
    let throttled = Throttled::with(&[("MAX_FAILED_LOGINS_PER_ADDRESS", "5")]).await;
    let here = "2001:db8:1:2::1";
    // Who logs in takes up nothing.
    assert_eq!(
        throttled.guesses(8, &throttled.email, PASSWORD, here).await,
        [200; 8]
    );
    for _ in 0..5 {
        let someone = format!("{}@example.com", unique());
        assert_eq!(throttled.guesses(1, &someone, "wrong", here).await, [401]);
    }
    for (address, status) in [
        (here, 429),
        ("2001:db8:1:2:3:4:5:6", 429),
        ("2001:db8:1:3::1", 200),
    ] {
        let statuses = throttled
            .guesses(1, &throttled.email, PASSWORD, address)
            .await;
        assert_eq!(statuses, [status], "{address}");
    }
    throttled.own.drop().await;
}

#[tokio::test]
async fn guesses_at_once_are_counted_one_by_one() {
    let throttled = Throttled::new().await;
    let there = address();
    let instances =
        join_all((0..8).map(|_| Function::start("login", &throttled.environment))).await;
    let request = guess(&throttled.email, "wrong", &there);
    let answers = instances
        .iter()
        .cycle()
        .take(64)
        .map(|function| function.http(&request));
    let mut statuses: Vec<_> = join_all(answers)
        .await
        .iter()
        .map(|answer| answer.status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 54]].concat());
    throttled.own.drop().await;
}

#[tokio::test]
async fn of_guesses_that_see_one_left_one_is_made() {
    let throttled = Throttled::new().await;
    let (email, there) = (throttled.email.clone(), address());
    let made = throttled.guesses(9, &email, "wrong", &there).await;
    assert_eq!(made, [401; 9]);
    let instances =
        join_all((0..4).map(|_| Function::start("login", &throttled.environment))).await;
    let request = guess(&email, "wrong", &there);
    // All of them have looked, and none has counted.
    let holder = throttled.own.connect().await;
    holder
        .batch_execute("BEGIN; SELECT FROM attempt FOR UPDATE")
        .await;
    let (answers, ()) = tokio::join!(
        join_all(instances.iter().map(|function| function.http(&request))),
        async {
            throttled.own.wait_for_blocked_statements(4).await;
            holder.batch_execute("COMMIT").await;
        }
    );
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [401, 429, 429, 429]);
    throttled.own.drop().await;
}

#[tokio::test]
async fn an_address_may_register_so_often_in_an_hour() {
    let throttled = Throttled::with(&[("MAX_REGISTRATIONS_PER_ADDRESS", "3")]).await;
    let register = Function::start("register", &throttled.environment).await;
    let here = address();
    let ask = async |address: &str| {
        let request = HttpEvent::new("POST", REGISTER, &[]).json(&registration());
        register.http(&request.source_ip(address)).await
    };
    for _ in 0..3 {
        assert_eq!(ask(&here).await.status, 201);
    }
    let seconds = wait(&ask(&here).await).expect("a refusal");
    assert!((59 * MINUTE..=60 * MINUTE).contains(&seconds), "{seconds}");
    assert_eq!(ask(&address()).await.status, 201);
    throttled.pass(seconds).await;
    assert_eq!(ask(&here).await.status, 201);
    throttled.own.drop().await;
}

#[tokio::test]
async fn a_wrong_password_is_a_failed_login_wherever_it_is_asked_for() {
    let throttled = Throttled::new().await;
    let here = address();
    let change = json!({"current_password": "wrong", "new_password": "another password"});
    let change = HttpEvent::new("POST", "/api/auth/password", &[]).json(&change);
    let delete = HttpEvent::new("DELETE", "/api/auth/me", &[]).json(&json!({"password": "wrong"}));
    for (function, request) in [("change-password", change), ("delete-account", delete)] {
        let function = Function::start(function, &throttled.environment).await;
        let request = request.bearer(&throttled.token).source_ip(&here);
        for _ in 0..5 {
            let answer = function.http(&request).await;
            assert_eq!(
                (answer.status, answer.body),
                (403, json!({"detail": "Incorrect password"}))
            );
        }
    }
    assert_eq!(
        throttled
            .guesses(1, &throttled.email, PASSWORD, &here)
            .await,
        [429]
    );
    // The session goes on.
    let list = Function::start("list-tasks", &throttled.environment).await;
    let request = HttpEvent::new("GET", "/api/{user_id}/tasks", &[&throttled.user_id]);
    let answer = list.http(&request.bearer(&throttled.token)).await;
    assert_eq!((answer.status, answer.body), (200, json!([])));
    throttled.own.drop().await;
}

#[tokio::test]
async fn a_limit_that_is_no_number_stops_a_function_at_start() {
    let environment = Environment::default().with("MAX_FAILED_LOGINS_PER_ACCOUNT", "many");
    let output = tests::function::run("login", &[], &environment).await;
    assert!(
        output
            .text
            .contains("MAX_FAILED_LOGINS_PER_ACCOUNT is \"many\". Write a whole number from 1"),
        "{}",
        output.text
    );
    assert_eq!(output.status, Some(1));
}
