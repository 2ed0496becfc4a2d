//! Two requests about one password at once, and the work that a wrong one takes.

use serde_json::{Value, json};
use tests::api::{PASSWORD, registration};
use tests::database::TestDatabase;
use tests::function::{Function, HttpEvent, HttpResponse};
use tests::unique;

const NEW: &str = "another password";

fn login(email: &str, password: &str) -> HttpEvent {
    let body = json!({"email": email, "password": password});
    HttpEvent::new("POST", "/api/auth/login", &[]).json(&body)
}

fn change() -> HttpEvent {
    let body = json!({"current_password": PASSWORD, "new_password": NEW});
    HttpEvent::new("POST", "/api/auth/password", &[]).json(&body)
}

/// An account in a database of its own, where no one else waits for anything.
struct Account {
    own: TestDatabase,
    email: String,
    token: String,
}

impl Account {
    async fn new() -> Self {
        let own = TestDatabase::migrated().await;
        let user = registration();
        let register = Function::start("register", &own.environment).await;
        let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&user);
        let registered = register.http(&request).await.body;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Self {
            email: text(&user["email"]),
            token: text(&registered["access_token"]),
            own,
        }
    }

    async fn function(&self, name: &str) -> Function {
        Function::start(name, &self.own.environment).await
    }

    /// The status of `GET /api/auth/me` with a token.
    async fn me(&self, token: &str) -> u64 {
        let request = HttpEvent::new("GET", "/api/auth/me", &[]).bearer(token);
        self.function("me").await.http(&request).await.status
    }

    /// Has both requests look at the account as it is, and then change it in this order: its row is kept locked until
    /// one waits for it, and then the other.
    async fn meet(&self, first: (&str, HttpEvent), second: (&str, HttpEvent)) -> [HttpResponse; 2] {
        let (one, other) = (self.function(first.0).await, self.function(second.0).await);
        let holder = self.own.connect().await;
        holder
            .batch_execute("BEGIN; SELECT FROM \"user\" FOR UPDATE")
            .await;
        let (first, second, ()) = tokio::join!(
            one.http(&first.1),
            async {
                self.own.wait_for_blocked_statements(1).await;
                other.http(&second.1).await
            },
            async {
                self.own.wait_for_blocked_statements(1).await;
                self.own.wait_for_blocked_statements(2).await;
                holder.batch_execute("COMMIT").await;
            }
        );
        [first, second]
    }
}

#[tokio::test]
async fn a_login_that_was_under_way_does_not_outlive_a_change_of_its_password() {
    let account = Account::new().await;
    let login = ("login", login(&account.email, PASSWORD));
    let change = ("change-password", change().bearer(&account.token));
    let [opened, changed] = account.meet(login, change).await;
    assert_eq!((opened.status, changed.status), (200, 200));
    let token = opened.body["access_token"].as_str().expect("a token");
    assert_eq!(account.me(token).await, 401);
    assert_eq!(account.me(&account.token).await, 200);
    account.own.drop().await;
}

#[tokio::test]
async fn who_comes_with_a_password_that_has_just_been_changed_is_too_late() {
    let delete = HttpEvent::new("DELETE", "/api/auth/me", &[]).json(&json!({"password": PASSWORD}));
    for (name, hash, status) in [
        ("login", None, 401),
        // One whose hash the login would replace.
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
            let store = "UPDATE \"user\" SET hashed_password = $1";
            account.own.owner.execute(store, &[hash]).await;
        }
        let request = match name {
            "login" => login(&account.email, PASSWORD),
            "change-password" => change().bearer(&account.token),
            _ => delete.clone().bearer(&account.token),
        };
        let change = ("change-password", change().bearer(&account.token));
        let [changed, late] = account.meet(change, (name, request)).await;
        assert_eq!((changed.status, late.status), (200, status), "{name}");
        let function = account.function("login").await;
        for (password, status) in [(PASSWORD, 401), (NEW, 200)] {
            let answer = function.http(&login(&account.email, password)).await;
            assert_eq!(answer.status, status, "{name}: {password}");
        }
        account.own.drop().await;
    }
}

#[tokio::test]
async fn an_unknown_email_takes_the_work_of_a_wrong_password() {
    let account = Account::new().await;
    let function = account.function("login").await;
    let mut taken = [0; 2];
    for number in 0..30 {
        // Each from another address, or there would be too many for one.
        let address = format!("192.0.2.{number}");
        let unknown = format!("{}@example.com", unique());
        for (email, taken) in [account.email.as_str(), &unknown].iter().zip(&mut taken) {
            let before = function.cpu_ticks();
            let answer = function
                .http(&login(email, "wrong").source_ip(&address))
                .await;
            assert_eq!(answer.status, 401);
            *taken += function.cpu_ticks() - before;
        }
    }
    // Ticks of a hundredth of a second; hashing a password takes two of them, all else together a tenth of one.
    let [known, unknown] = taken;
    assert!(
        known > 20 && known < 2 * unknown && unknown < 2 * known,
        "{known} for a known address, {unknown} for an unknown one"
    );
    account.own.drop().await;
}
