//! Concurrent requests with one password, and the processor time of a failed login.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::api::{PASSWORD, registration};
use tests::database::TestDatabase;
use tests::function::{Function, HttpEvent, HttpResponse};
use tests::unique;

const NEW_PASSWORD: &str = "another password";

fn login_request(email: &str, password: &str) -> HttpEvent {
    let body = json!({"email": email, "password": password});
    HttpEvent::new("POST", "/api/auth/login", &[]).json(&body)
}

fn password_change_request() -> HttpEvent {
    let body = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    HttpEvent::new("POST", "/api/auth/password", &[]).json(&body)
}

/// An account in a separate database, in which no other test waits for locks.
struct Account {
    database: TestDatabase,
    email: String,
    token: String,
}

impl Account {
    async fn new() -> Self {
        let database = TestDatabase::migrated().await;
        let user = registration();
        let register = Function::start("register", &database.environment).await;
        let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&user);
        let registered = register.http(&request).await.body;
        database.owner.batch_execute("DELETE FROM attempt").await;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Self {
            email: text(&user["email"]),
            token: text(&registered["access_token"]),
            database,
        }
    }

    async fn function(&self, name: &str) -> Function {
        Function::start(name, &self.database.environment).await
    }

    /// The status of `GET /api/auth/me` with a token.
    async fn me_status(&self, token: &str) -> u64 {
        let request = HttpEvent::new("GET", "/api/auth/me", &[]).bearer(token);
        self.function("me").await.http(&request).await.status
    }

    async fn set_hash(&self, hash: &str) {
        let update = "UPDATE \"user\" SET hashed_password = $1";
        self.database.owner.execute(update, &[&hash]).await;
    }

    /// The most attempts that are counted on anything.
    async fn failures(&self) -> Value {
        let query = "SELECT coalesce(max(used), 0) AS failures FROM attempt";
        self.database.owner.query_one(query, &[]).await["failures"].take()
    }

    /// Lets both requests read the account before either of them changes it. They change it in this order, since the row
    /// stays locked until both wait for it.
    async fn run_concurrently(
        &self,
        first: (&str, HttpEvent),
        second: (&str, HttpEvent),
    ) -> [HttpResponse; 2] {
        let (one, other) = (self.function(first.0).await, self.function(second.0).await);
        let holder = self.database.connect().await;
        holder
            .batch_execute("BEGIN; SELECT FROM \"user\" FOR NO KEY UPDATE")
            .await;
        let (first, second, ()) = tokio::join!(
            one.http(&first.1),
            async {
                self.database.wait_for_blocked_statements(1).await;
                other.http(&second.1).await
            },
            async {
                self.database.wait_for_blocked_statements(1).await;
                self.database.wait_for_blocked_statements(2).await;
                holder.batch_execute("COMMIT").await;
            }
        );
        [first, second]
    }
}

#[tokio::test]
async fn a_password_change_ends_a_concurrent_login() {
    let account = Account::new().await;
    let login = ("login", login_request(&account.email, PASSWORD));
    let change = (
        "change-password",
        password_change_request().bearer(&account.token),
    );
    let [opened, changed] = account.run_concurrently(login, change).await;
    assert_eq!((opened.status, changed.status), (200, 200));
    let token = opened.body["access_token"].as_str().expect("a token");
    assert_eq!(account.me_status(token).await, 401);
    assert_eq!(account.me_status(&account.token).await, 200);
    account.database.drop().await;
}

#[tokio::test]
async fn a_password_that_was_just_changed_is_rejected() {
    for (name, hash, status) in [
        ("login", None, 401),
        // The login would replace this legacy hash.
        (
            "login",
            Some(bcrypt::hash(PASSWORD, 4).expect("a hash")),
            401,
        ),
        ("change-password", None, 403),
        ("delete-account", None, 403),
    ] {
        let account = Account::new().await;
        if let Some(hash) = &hash {
            account.set_hash(hash).await;
        }
        let request = match name {
            "login" => login_request(&account.email, PASSWORD),
            "change-password" => password_change_request().bearer(&account.token),
            _ => delete_request().bearer(&account.token),
        };
        let change = (
            "change-password",
            password_change_request().bearer(&account.token),
        );
        let [changed, late] = account.run_concurrently(change, (name, request)).await;
        assert_eq!((changed.status, late.status), (200, status), "{name}");
        let function = account.function("login").await;
        for (password, status) in [(PASSWORD, 401), (NEW_PASSWORD, 200)] {
            let response = function
                .http(&login_request(&account.email, password))
                .await;
            assert_eq!(response.status, status, "{name}: {password}");
        }
        account.database.drop().await;
    }
}

#[tokio::test]
async fn a_right_password_survives_that_its_hash_is_replaced() {
    let legacy = bcrypt::hash(PASSWORD, 4).expect("a hash");
    // A change to the same password replaces the hash, too.
    let same = json!({"current_password": PASSWORD, "new_password": PASSWORD});
    let same = HttpEvent::new("POST", "/api/auth/password", &[]).json(&same);
    for first in ["login", "change-password"] {
        for second in ["login", "change-password", "delete-account"] {
            let account = Account::new().await;
            if first == "login" {
                account.set_hash(&legacy).await;
            }
            let request = |name| match name {
                "login" => login_request(&account.email, PASSWORD),
                "change-password" if name == first => same.clone().bearer(&account.token),
                "change-password" => password_change_request().bearer(&account.token),
                _ => delete_request().bearer(&account.token),
            };
            let [one, other] = account
                .run_concurrently((first, request(first)), (second, request(second)))
                .await;
            assert_eq!((one.status, other.status), (200, 200), "{first}, {second}");
            assert_eq!(account.failures().await, 0, "{first}, {second}");
            account.database.drop().await;
        }
    }
}

#[tokio::test]
async fn a_replaced_hash_does_not_excuse_a_wrong_password() {
    let account = Account::new().await;
    let change = password_change_request().bearer(&account.token);
    let delete = delete_request().bearer(&account.token);
    let [changed, late] = account
        .run_concurrently(("change-password", change), ("delete-account", delete))
        .await;
    assert_eq!((changed.status, late.status), (200, 403));
    // It is one failed attempt, although it was compared with two hashes.
    assert_eq!(account.failures().await, 1);
    account.database.drop().await;
}

fn delete_request() -> HttpEvent {
    HttpEvent::new("DELETE", "/api/auth/me", &[]).json(&json!({"password": PASSWORD}))
}

/// Texts that an operator, another program or an attack can leave in `hashed_password`, of an account whose password is
/// `PASSWORD`: no hashes, hashes of unknown kinds, and hashes that would take gigabytes or minutes to verify.
fn unusable_hashes() -> Vec<String> {
    let argon2 = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGF0IGFsbC4uLg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let bcrypt = bcrypt::hash(PASSWORD, 4).expect("a hash");
    [
        "",
        " ",
        "!",
        "*",
        PASSWORD,
        "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
        "$pbkdf2-sha256$29000$N2YMIWQsBWBMae09x1jrPQ$1t8iyB2A.WF/Z5JZv.lfCIhXXN33N23OSgQYThBYRfk",
        &format!("!{bcrypt}"),
        &bcrypt[..59],
        &bcrypt.replace("$2b$", "$2$"),
        &bcrypt.replace("$04$", "$31$"),
        &argon2[..argon2.len() - 2],
        &argon2.replace("argon2id", "argon2i"),
        &argon2.replace("argon2id", "argon2d"),
        &argon2.replace("m=19456", "m=4194304"),
        &argon2.replace("t=2", "t=4294967295"),
        &argon2.replace("p=1", "p=2432"),
        &"x".repeat(255),
    ]
    .map(str::to_owned)
    .into()
}

#[tokio::test]
async fn a_stored_text_that_is_no_hash_is_a_wrong_password() {
    let account = Account::new().await;
    let names = ["login", "change-password", "delete-account"];
    let functions = join_all(names.map(|name| account.function(name))).await;
    let mut outputs = 0;
    for hash in unusable_hashes() {
        account.set_hash(&hash).await;
        account
            .database
            .owner
            .batch_execute("DELETE FROM attempt")
            .await;
        for (name, function) in names.iter().zip(&functions) {
            let (request, status, detail) = match *name {
                "login" => (
                    login_request(&account.email, PASSWORD),
                    401,
                    "Incorrect email or password",
                ),
                "change-password" => (password_change_request(), 403, "Incorrect password"),
                _ => (delete_request(), 403, "Incorrect password"),
            };
            let response = function.http(&request.bearer(&account.token)).await;
            let expected = (status, json!({"detail": detail}));
            assert_eq!(
                (response.status, response.body),
                expected,
                "{name}: {hash:?}"
            );
        }
        outputs += 1;
        assert_eq!(account.failures().await, 3, "{hash:?}");
    }
    let query = "SELECT id FROM \"user\"";
    let user_id = account.database.owner.query_one(query, &[]).await["id"].clone();
    for function in functions {
        // Without these hashes: gigabytes.
        assert!(function.peak_memory() < 200 << 20);
        let output = function.stop().await;
        let lines = output
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines = lines.filter(|line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.contains("the stored password hash of this user cannot be used")
        });
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), outputs);
        assert!(
            lines
                .iter()
                .all(|line| line["user_id"] == user_id && line["level"] == "WARN")
        );
        for hash in unusable_hashes().iter().filter(|hash| hash.len() > 1) {
            assert!(!output.contains(hash), "{hash:?} is logged");
        }
    }
    account.database.drop().await;
}

#[tokio::test]
async fn a_text_that_is_no_hash_costs_as_much_as_a_wrong_password() {
    let account = Account::new().await;
    let function = account.function("login").await;
    // The first login makes the memory for the hash.
    let mut costs = Vec::new();
    let texts = [
        "",
        "!",
        "$2b$04$x",
        "$argon2id$v=19$m=4194304,t=2,p=1$bm9ib2R5IGF0IGFsbC4uLg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ];
    let query = "SELECT hashed_password AS hash FROM \"user\"";
    let hash = account.database.owner.query_one(query, &[]).await["hash"].clone();
    for text in [&[hash.as_str().expect("a hash")][..], &texts].concat() {
        account.set_hash(text).await;
        account
            .database
            .owner
            .batch_execute("DELETE FROM attempt")
            .await;
        let request = login_request(&account.email, "wrong");
        assert_eq!(function.http(&request).await.status, 401);
        let before = function.cpu_time();
        for _ in 0..8 {
            assert_eq!(function.http(&request).await.status, 401);
        }
        costs.push(function.cpu_time().saturating_sub(before));
    }
    let (usual, others) = costs.split_first().expect("costs");
    for cost in others {
        assert!(*cost < *usual * 2 && *usual < *cost * 2, "{costs:?}");
    }
    account.database.drop().await;
}

#[tokio::test]
async fn an_unknown_email_costs_as_much_as_a_wrong_password() {
    let account = Account::new().await;
    let function = account.function("login").await;
    let mut ticks = [0; 2];
    for number in 0..30 {
        // One address would reach the limit of failed logins.
        let address = format!("192.0.2.{number}");
        let unknown = format!("{}@example.com", unique());
        for (email, ticks) in [account.email.as_str(), &unknown].iter().zip(&mut ticks) {
            let before = function.cpu_ticks();
            let response = function
                .http(&login_request(email, "wrong").source_ip(&address))
                .await;
            assert_eq!(response.status, 401);
            *ticks += function.cpu_ticks() - before;
        }
    }
    // A tick is 10 ms. Hashing a password takes about two ticks, everything else together a tenth of one.
    let [known, unknown] = ticks;
    assert!(
        known > 20 && known < 2 * unknown && unknown < 2 * known,
        "{known} ticks for a known address, {unknown} for an unknown one"
    );
    account.database.drop().await;
}
