//! Concurrent requests with one password, and the processor time of a failed login.

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
    let delete = HttpEvent::new("DELETE", "/api/auth/me", &[]).json(&json!({"password": PASSWORD}));
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
            let update = "UPDATE \"user\" SET hashed_password = $1";
            account.database.owner.execute(update, &[hash]).await;
        }
        let request = match name {
            "login" => login_request(&account.email, PASSWORD),
            "change-password" => password_change_request().bearer(&account.token),
            _ => delete.clone().bearer(&account.token),
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
