//! Rate limits of logins and registrations.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::api::{PASSWORD, registration};
use tests::database::TestDatabase;
use tests::function::{Environment, Function, HttpEvent, HttpResponse, run};
use tests::{random, unique};

const LOGIN: &str = "/api/auth/login";
const REGISTER: &str = "/api/auth/register";
const MINUTE: i64 = 60;

/// A random address.
fn random_address() -> String {
    let part = || random(256);
    format!("10.{}.{}.{}", part(), part(), part())
}

fn login_request(email: &str, password: &str, address: &str) -> HttpEvent {
    HttpEvent::new("POST", LOGIN, &[])
        .json(&json!({"email": email, "password": password}))
        .source_ip(address)
}

/// The seconds in `Retry-After` if the response is a 429.
#[track_caller]
fn retry_after(response: &HttpResponse) -> Option<i64> {
    if response.status != 429 {
        return None;
    }
    assert_eq!(
        response.body,
        json!({"detail": "Too many attempts, try again later"})
    );
    let seconds = response.headers["retry-after"].as_str().expect("a time");
    Some(seconds.parse().expect("seconds"))
}

/// A database with an account, and the settings of the rate limits: the defaults, unless a test sets others.
struct RateLimitFixture {
    database: TestDatabase,
    environment: Environment,
    login: Function,
    email: String,
    user_id: String,
    token: String,
}

impl RateLimitFixture {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(limits: &[(&str, &str)]) -> Self {
        let database = TestDatabase::migrated().await;
        let environment = database
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
        let registered = register
            .http(&request.source_ip(&random_address()))
            .await
            .body;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Self {
            login: Function::start("login", &environment).await,
            environment,
            database,
            email: text(&user["email"]),
            user_id: text(&registered["user_id"]),
            token: text(&registered["access_token"]),
        }
    }

    /// Sends logins and returns the statuses.
    async fn login_statuses(
        &self,
        count: usize,
        email: &str,
        password: &str,
        address: &str,
    ) -> Vec<u64> {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(
                self.login
                    .http(&login_request(email, password, address))
                    .await
                    .status,
            );
        }
        statuses
    }

    /// Sends failing logins until one is limited. Returns the number of logins before it, and its `Retry-After`.
    async fn fail_until_limited(&self, email: &str, address: &str) -> (usize, i64) {
        for count in 0..50 {
            let response = self
                .login
                .http(&login_request(email, "wrong", address))
                .await;
            match retry_after(&response) {
                Some(seconds) => return (count, seconds),
                None => assert_eq!(response.status, 401, "{response:?}"),
            }
        }
        panic!("no login is limited");
    }

    /// Moves the times in the database into the past.
    async fn advance_time(&self, seconds: i64) {
        let update = format!(
            "UPDATE attempt SET window_started_at = window_started_at - interval '{seconds} s',
                                last_used_at = last_used_at - interval '{seconds} s',
                                known_until = known_until - interval '{seconds} s',
                                expires_at = expires_at - interval '{seconds} s'"
        );
        self.database.owner.batch_execute(&update).await;
    }

    /// The counts of the rows that a condition selects, as a list in ascending order.
    async fn counts(&self, condition: &str) -> Value {
        let query = format!(
            "SELECT coalesce(jsonb_agg(used ORDER BY used), '[]') AS counts FROM attempt WHERE {condition}"
        );
        self.database.owner.query_one(&query, &[]).await["counts"].take()
    }

    async fn attempt_rows(&self) -> Vec<Value> {
        self.database
            .owner
            .query("SELECT * FROM attempt ORDER BY key", &[])
            .await
    }
}

#[tokio::test]
async fn the_eleventh_failed_login_is_429_only_for_its_address() {
    let fixture = RateLimitFixture::new().await;
    let (email, address) = (fixture.email.clone(), random_address());
    assert_eq!(
        fixture.login_statuses(10, &email, "wrong", &address).await,
        [401; 10]
    );
    // Neither the right password nor a header changes that.
    let limited = fixture.login_statuses(2, &email, PASSWORD, &address).await;
    assert_eq!(limited, [429; 2]);
    let request =
        login_request(&email, PASSWORD, &address).header("x-forwarded-for", "203.0.113.1");
    assert!(retry_after(&fixture.login.http(&request).await).is_some());
    // The email address in another case is the same account.
    assert_eq!(
        fixture
            .login_statuses(1, &email.to_uppercase(), PASSWORD, &address)
            .await,
        [429]
    );
    assert_eq!(
        fixture
            .login_statuses(1, &email, PASSWORD, &random_address())
            .await,
        [200]
    );
    fixture.database.drop().await;
}

#[tokio::test]
async fn retry_after_doubles_and_does_not_grow_while_limited() {
    let fixture = RateLimitFixture::new().await;
    let (email, address) = (fixture.email.clone(), random_address());
    for minutes in [15, 30, 60, 60] {
        let (count, seconds) = fixture.fail_until_limited(&email, &address).await;
        assert_eq!(count, 10);
        assert!(
            (minutes * MINUTE - 20..=minutes * MINUTE).contains(&seconds),
            "{seconds}"
        );
        let before = fixture.attempt_rows().await;
        assert_eq!(
            fixture.login_statuses(15, &email, PASSWORD, &address).await,
            [429; 15]
        );
        assert_eq!(fixture.attempt_rows().await, before);
        fixture.advance_time(seconds).await;
    }
    // After the wait the owner can log in, which resets the limit.
    assert_eq!(
        fixture.login_statuses(1, &email, PASSWORD, &address).await,
        [200]
    );
    let (count, seconds) = fixture.fail_until_limited(&email, &address).await;
    assert_eq!((count, seconds <= 15 * MINUTE), (10, true));
    fixture.database.drop().await;
}

#[tokio::test]
async fn an_unknown_email_is_limited_like_a_known_one() {
    let fixture = RateLimitFixture::new().await;
    let unknown = format!("{}@example.com", unique());
    let [known, unknown] = [&fixture.email, &unknown].map(async |email| {
        let address = random_address();
        let mut responses = Vec::new();
        for _ in 0..12 {
            let response = fixture
                .login
                .http(&login_request(email, "wrong", &address))
                .await;
            let mut headers = response.headers.clone();
            // The remaining time differs by seconds.
            headers["retry-after"] =
                json!(retry_after(&response).map(|seconds| (seconds + 30) / MINUTE));
            headers["x-request-id"].take();
            responses.push((response.status, headers, response.body));
        }
        responses
    });
    assert_eq!(known.await, unknown.await);
    fixture.database.drop().await;
}

#[tokio::test]
async fn other_addresses_cannot_lock_out_the_owner() {
    let fixture = RateLimitFixture::with(&[("MAX_FAILED_LOGINS_PER_ACCOUNT", "5")]).await;
    let (email, home) = (fixture.email.clone(), random_address());
    assert_eq!(
        fixture.login_statuses(1, &email, PASSWORD, &home).await,
        [200]
    );
    for _ in 0..5 {
        assert_eq!(
            fixture
                .login_statuses(1, &email, "wrong", &random_address())
                .await,
            [401]
        );
    }
    // The limit applies to new addresses, but not to the known address of the owner.
    assert_eq!(
        fixture
            .login_statuses(1, &email, PASSWORD, &random_address())
            .await,
        [429]
    );
    assert_eq!(
        fixture.login_statuses(3, &email, PASSWORD, &home).await,
        [200; 3]
    );
    fixture.advance_time(15 * MINUTE).await;
    assert_eq!(
        fixture
            .login_statuses(1, &email, PASSWORD, &random_address())
            .await,
        [200]
    );
    fixture.database.drop().await;
}

#[tokio::test]
async fn failed_logins_per_address_are_limited() {
    let fixture = RateLimitFixture::with(&[("MAX_FAILED_LOGINS_PER_ADDRESS", "5")]).await;
    let address = "2001:db8:1:2::1";
    // Successful logins do not count.
    assert_eq!(
        fixture
            .login_statuses(8, &fixture.email, PASSWORD, address)
            .await,
        [200; 8]
    );
    for _ in 0..5 {
        let someone = format!("{}@example.com", unique());
        assert_eq!(
            fixture.login_statuses(1, &someone, "wrong", address).await,
            [401]
        );
    }
    for (address, status) in [
        (address, 429),
        ("2001:db8:1:2:3:4:5:6", 429),
        ("2001:db8:1:3::1", 200),
    ] {
        let statuses = fixture
            .login_statuses(1, &fixture.email, PASSWORD, address)
            .await;
        assert_eq!(statuses, [status], "{address}");
    }
    fixture.database.drop().await;
}

#[tokio::test]
async fn concurrent_logins_are_counted_individually() {
    let fixture = RateLimitFixture::new().await;
    let address = random_address();
    let instances = join_all((0..8).map(|_| Function::start("login", &fixture.environment))).await;
    let request = login_request(&fixture.email, "wrong", &address);
    let responses = instances
        .iter()
        .cycle()
        .take(64)
        .map(|function| function.http(&request));
    let mut statuses: Vec<_> = join_all(responses)
        .await
        .iter()
        .map(|response| response.status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 54]].concat());
    fixture.database.drop().await;
}

#[tokio::test]
async fn only_one_concurrent_login_uses_the_last_attempt() {
    let fixture = RateLimitFixture::new().await;
    let (email, address) = (fixture.email.clone(), random_address());
    let failed = fixture.login_statuses(9, &email, "wrong", &address).await;
    assert_eq!(failed, [401; 9]);
    let instances = join_all((0..4).map(|_| Function::start("login", &fixture.environment))).await;
    let request = login_request(&email, "wrong", &address);
    // All instances have read the counter, and none has changed it.
    let holder = fixture.database.connect().await;
    holder
        .batch_execute("BEGIN; SELECT FROM attempt FOR UPDATE")
        .await;
    let (responses, ()) = tokio::join!(
        join_all(instances.iter().map(|function| function.http(&request))),
        async {
            fixture.database.wait_for_blocked_statements(4).await;
            holder.batch_execute("COMMIT").await;
        }
    );
    let mut statuses: Vec<_> = responses.iter().map(|response| response.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [401, 429, 429, 429]);
    fixture.database.drop().await;
}

/// Rows that count attempts on an account, on an account together with an address, and on an address, by their keys: the
/// id of an account has 4 bytes, and an HMAC has 32. Counts of registrations are left out.
const ON_ACCOUNT: &str = "length(key) = 4";
const ON_PAIR: &str = "length(key) = 36";
const ON_ADDRESS: &str = "key IN (SELECT substr(key, 5) FROM attempt WHERE length(key) = 36)";

#[tokio::test]
async fn guesses_at_once_are_counted_exactly() {
    let limits = [("MAX_FAILED_LOGINS_PER_ACCOUNT", "20")];
    let fixture = RateLimitFixture::with(&limits).await;
    let instances = join_all((0..8).map(|_| Function::start("login", &fixture.environment))).await;
    let addresses: Vec<_> = (0..5).map(|_| random_address()).collect();
    let requests: Vec<_> = (0..60)
        .map(|number| login_request(&fixture.email, "wrong", &addresses[number % 5]))
        .collect();
    let responses = requests
        .iter()
        .zip(instances.iter().cycle())
        .map(|(request, function)| function.http(request));
    let responses = join_all(responses).await;
    let failed = responses.iter().filter(|response| response.status == 401);
    assert_eq!(failed.count(), 20);
    // Nothing is counted but these 20.
    assert_eq!(fixture.counts(ON_ACCOUNT).await, json!([20]));
    for rows in [ON_PAIR, ON_ADDRESS] {
        let counts = fixture.counts(rows).await;
        let counts = counts.as_array().expect("a list").iter();
        let sum: i64 = counts.map(|count| count.as_i64().expect("a number")).sum();
        assert_eq!(sum, 20, "{rows}");
    }
    fixture.database.drop().await;
}

#[tokio::test]
async fn right_logins_at_once_from_a_new_address_succeed() {
    let limits = [
        ("MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS", "2"),
        ("MAX_FAILED_LOGINS_PER_ACCOUNT", "3"),
        ("MAX_FAILED_LOGINS_PER_ADDRESS", "3"),
    ];
    let fixture = RateLimitFixture::with(&limits).await;
    let instances = join_all((0..8).map(|_| Function::start("login", &fixture.environment))).await;
    let request = login_request(&fixture.email, PASSWORD, &random_address());
    let responses = instances
        .iter()
        .cycle()
        .take(40)
        .map(|function| function.http(&request));
    let responses = join_all(responses).await;
    let statuses: Vec<_> = responses.iter().map(|response| response.status).collect();
    assert_eq!(statuses, [200; 40]);
    for rows in [ON_ACCOUNT, ON_PAIR, ON_ADDRESS] {
        assert_eq!(fixture.counts(rows).await, json!([0]), "{rows}");
    }
    fixture.database.drop().await;
}

#[tokio::test]
async fn a_raised_limit_takes_effect_at_once() {
    let fixture = RateLimitFixture::new().await;
    let (email, address) = (fixture.email.clone(), random_address());
    let (count, _) = fixture.fail_until_limited(&email, &address).await;
    assert_eq!(count, 10);
    let raised = fixture
        .environment
        .clone()
        .with("MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS", "12");
    let raised = Function::start("login", &raised).await;
    let request = login_request(&email, "wrong", &address);
    for status in [401, 401, 429] {
        assert_eq!(raised.http(&request).await.status, status);
    }
    // A lowered one does, too.
    assert!(retry_after(&fixture.login.http(&request).await).is_some());
    fixture.database.drop().await;
}

#[tokio::test]
async fn the_wait_does_not_grow_at_an_address_of_the_owner() {
    let fixture = RateLimitFixture::new().await;
    let (email, home) = (fixture.email.clone(), random_address());
    let opened = fixture.login_statuses(1, &email, PASSWORD, &home).await;
    assert_eq!(opened, [200]);
    for _ in 0..4 {
        let (count, seconds) = fixture.fail_until_limited(&email, &home).await;
        assert_eq!((count, seconds <= 15 * MINUTE), (10, true));
        fixture.advance_time(seconds).await;
    }
    fixture.database.drop().await;
}

#[tokio::test]
async fn registrations_per_address_are_limited() {
    let fixture = RateLimitFixture::with(&[("MAX_REGISTRATIONS_PER_ADDRESS", "3")]).await;
    let register = Function::start("register", &fixture.environment).await;
    let address = random_address();
    let ask = async |address: &str| {
        let request = HttpEvent::new("POST", REGISTER, &[]).json(&registration());
        register.http(&request.source_ip(address)).await
    };
    for _ in 0..3 {
        assert_eq!(ask(&address).await.status, 201);
    }
    let seconds = retry_after(&ask(&address).await).expect("a refusal");
    assert!((59 * MINUTE..=60 * MINUTE).contains(&seconds), "{seconds}");
    assert_eq!(ask(&random_address()).await.status, 201);
    fixture.advance_time(seconds).await;
    assert_eq!(ask(&address).await.status, 201);
    fixture.database.drop().await;
}

#[tokio::test]
async fn wrong_passwords_count_as_failed_logins_everywhere() {
    let fixture = RateLimitFixture::new().await;
    let address = random_address();
    let change = json!({"current_password": "wrong", "new_password": "another password"});
    let change = HttpEvent::new("POST", "/api/auth/password", &[]).json(&change);
    let delete = HttpEvent::new("DELETE", "/api/auth/me", &[]).json(&json!({"password": "wrong"}));
    for (function, request) in [("change-password", change), ("delete-account", delete)] {
        let function = Function::start(function, &fixture.environment).await;
        let request = request.bearer(&fixture.token).source_ip(&address);
        for _ in 0..5 {
            let response = function.http(&request).await;
            assert_eq!(
                (response.status, response.body),
                (403, json!({"detail": "Incorrect password"}))
            );
        }
    }
    assert_eq!(
        fixture
            .login_statuses(1, &fixture.email, PASSWORD, &address)
            .await,
        [429]
    );
    // The session is still valid.
    let list = Function::start("list-tasks", &fixture.environment).await;
    let request = HttpEvent::new("GET", "/api/{user_id}/tasks", &[&fixture.user_id]);
    let response = list.http(&request.bearer(&fixture.token)).await;
    assert_eq!((response.status, response.body), (200, json!([])));
    fixture.database.drop().await;
}

/// Sends a request again and again to an instance that is frozen between the requests, as on Lambda. Returns the processor
/// time of all of them.
async fn send_frozen(
    function: &Function,
    request: &HttpEvent,
    count: u32,
    status: u64,
) -> Duration {
    let before = function.cpu_time();
    for _ in 0..count {
        function.thaw();
        assert_eq!(function.http(request).await.status, status);
        function.freeze();
    }
    function.cpu_time().saturating_sub(before)
}

#[tokio::test]
async fn a_refused_request_hashes_no_password() {
    const COUNT: u32 = 10;
    /// A hash takes 19 MiB.
    const LESS_THAN_A_HASH: u64 = 12 << 20;
    let fixture = RateLimitFixture::with(&[("MAX_REGISTRATIONS_PER_ADDRESS", "10")]).await;
    let address = random_address();
    let change = json!({"current_password": "wrong", "new_password": "another password"});
    let change = HttpEvent::new("POST", "/api/auth/password", &[]).json(&change);
    let delete = HttpEvent::new("DELETE", "/api/auth/me", &[]).json(&json!({"password": "wrong"}));
    // One after the other exceeds the limit, so that each has to be admitted again.
    for (name, request, admitted) in [
        (
            "register",
            HttpEvent::new("POST", REGISTER, &[]).json(&registration()),
            409,
        ),
        (
            "login",
            login_request(&fixture.email, "wrong", &address),
            401,
        ),
        ("change-password", change.bearer(&fixture.token), 403),
        ("delete-account", delete.bearer(&fixture.token), 403),
    ] {
        fixture
            .database
            .owner
            .batch_execute("DELETE FROM attempt")
            .await;
        let request = request.source_ip(&address);
        let function = Function::start(name, &fixture.environment).await;
        if name == "register" {
            assert_eq!(function.http(&request).await.status, 201);
            fixture
                .database
                .owner
                .batch_execute("DELETE FROM attempt")
                .await;
        }
        let hashing = send_frozen(&function, &request, COUNT, admitted).await;
        let other = Function::start(name, &fixture.environment).await;
        // From now on the limit is no longer undecided.
        fixture.advance_time(10).await;
        assert_eq!(other.http(&request).await.status, 429);
        let memory = other.resident_memory();
        let refused = send_frozen(&other, &request, COUNT, 429).await;
        assert!(
            refused * 2 < hashing,
            "{name}: {refused:?}, and {hashing:?} with a hash"
        );
        let growth = other.peak_memory().saturating_sub(memory);
        assert!(growth < LESS_THAN_A_HASH, "{name}: {growth} bytes");
    }
    fixture.database.drop().await;
}

#[tokio::test]
async fn nothing_of_a_deleted_account_stays() {
    let fixture = RateLimitFixture::new().await;
    let (email, home) = (fixture.email.clone(), random_address());
    let abroad = random_address();
    for (address, password, status) in [
        (&home, PASSWORD, 200),
        (&home, "wrong", 401),
        (&abroad, "wrong", 401),
    ] {
        let statuses = fixture.login_statuses(1, &email, password, address).await;
        assert_eq!(statuses, [status]);
    }
    let delete = Function::start("delete-account", &fixture.environment).await;
    let request = HttpEvent::new("DELETE", "/api/auth/me", &[])
        .json(&json!({"password": PASSWORD}))
        .bearer(&fixture.token)
        .source_ip(&home);
    assert_eq!(delete.http(&request).await.status, 200);
    assert_eq!(fixture.counts(ON_ACCOUNT).await, json!([]));
    assert_eq!(fixture.counts(ON_PAIR).await, json!([]));
    let personal = "user_id IS NOT NULL OR known_until IS NOT NULL";
    assert_eq!(fixture.counts(personal).await, json!([]));
    // The addresses keep one failure each, and the registration. The right password does not count.
    assert_eq!(fixture.counts("true").await, json!([1, 1, 1]));

    // The next owner of the email address has no known address, and no failures.
    let register = Function::start("register", &fixture.environment).await;
    let mut user = registration();
    user["email"] = json!(email);
    let request = HttpEvent::new("POST", REGISTER, &[]).json(&user);
    let response = register.http(&request.source_ip(&random_address())).await;
    assert_eq!(response.status, 201);
    let (count, _) = fixture.fail_until_limited(&email, &home).await;
    assert_eq!(count, 10);
    assert_eq!(fixture.counts(ON_ACCOUNT).await, json!([10]));
    fixture.database.drop().await;
}

#[tokio::test]
async fn a_password_during_the_deletion_of_its_account_is_401() {
    let change = json!({"current_password": PASSWORD, "new_password": "another password"});
    let change = HttpEvent::new("POST", "/api/auth/password", &[]).json(&change);
    for (name, attempts_before) in [("login", 0), ("login", 1), ("change-password", 1)] {
        let fixture = RateLimitFixture::new().await;
        let (email, address) = (fixture.email.clone(), random_address());
        let before = fixture
            .login_statuses(attempts_before, &email, "wrong", &address)
            .await;
        assert_eq!(before.len(), attempts_before);
        let function = Function::start(name, &fixture.environment).await;
        let request = match name {
            "login" => login_request(&email, PASSWORD, &address),
            _ => change.clone().bearer(&fixture.token).source_ip(&address),
        };
        let holder = fixture.database.connect().await;
        holder.batch_execute("BEGIN; DELETE FROM \"user\"").await;
        let (response, ()) = tokio::join!(function.http(&request), async {
            fixture.database.wait_for_blocked_statements(1).await;
            holder.batch_execute("COMMIT").await;
        });
        assert_eq!(response.status, 401, "{name}: {response:?}");
        assert_eq!(fixture.counts(ON_ACCOUNT).await, json!([]));
        assert_eq!(fixture.counts("user_id IS NOT NULL").await, json!([]));
        fixture.database.drop().await;
    }
}

#[tokio::test]
async fn the_table_reveals_neither_addresses_nor_emails() {
    let fixture = RateLimitFixture::new().await;
    let (address, unknown) = (random_address(), format!("{}@example.com", unique()));
    for (email, password) in [
        (&unknown, "wrong"),
        (&fixture.email, "wrong"),
        (&fixture.email, PASSWORD),
    ] {
        fixture.login_statuses(1, email, password, &address).await;
    }
    let rows = fixture.attempt_rows().await;
    assert!(rows.len() >= 6, "{rows:?}");
    // Not even hashes, which someone with a list of addresses could compute.
    let guess = "SELECT count(*) FROM attempt
                 CROSS JOIN unnest(ARRAY[$1, $2, $3]::text[]) AS plain
                 CROSS JOIN unnest(ARRAY['', 'address', 'email', 'registration']) AS prefix
                 CROSS JOIN LATERAL (SELECT convert_to(prefix || plain, 'UTF8') AS bytes) AS guess
                 CROSS JOIN unnest(ARRAY[
                     bytes, sha224(bytes), sha256(bytes), sha512(bytes), decode(md5(bytes), 'hex')
                 ]) AS digest
                 WHERE position(substr(digest, 1, 8) IN key) > 0";
    let found = fixture
        .database
        .owner
        .query_one(guess, &[&address, &unknown, &fixture.email])
        .await;
    assert_eq!(found["count"], 0);
    fixture.database.drop().await;
}

#[tokio::test]
async fn an_invalid_limit_fails_the_start() {
    let environment = Environment::default().with("MAX_FAILED_LOGINS_PER_ACCOUNT", "many");
    let output = run("login", &[], &environment).await;
    assert!(
        output
            .text
            .contains("MAX_FAILED_LOGINS_PER_ACCOUNT is \"many\". Write a whole number from 1"),
        "{}",
        output.text
    );
    assert_eq!(output.status, Some(1));
}
