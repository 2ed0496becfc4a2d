//! Whether time tells which accounts exist.

use serde_json::json;
use tests::api::registration;
use tests::database::TestDatabase;
use tests::function::{Function, HttpEvent};

use crate::sample::Sample;

/// Milliseconds to a refusal.
pub(crate) struct Logins {
    pub(crate) unknown_address: Sample,
    pub(crate) wrong_password: Sample,
}

impl Logins {
    /// How much longer the slower of the two takes.
    pub(crate) fn ratio(&self) -> f64 {
        let ratio = self.unknown_address.median() / self.wrong_password.median();
        ratio.max(1.0 / ratio)
    }
}

/// Logs in with an address that nobody has, and with one that someone has, in turn.
pub(crate) async fn measure(own: &TestDatabase, times: usize) -> Logins {
    let user = registration();
    let register = Function::start("register", &own.environment).await;
    let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&user);
    assert_eq!(register.http(&request).await.status, 201);

    let mut login = Function::start("login", &own.environment).await;
    login.wait_until_ready().await;
    let mut logins = Logins {
        unknown_address: Sample::default(),
        wrong_password: Sample::default(),
    };
    let nobody = registration();
    // The first ones count the first failures, and connect.
    for time in 0..times + 3 {
        for (who, sample) in [
            (&nobody, &mut logins.unknown_address),
            (&user, &mut logins.wrong_password),
        ] {
            let body = json!({"email": who["email"], "password": "not this one"});
            let request = HttpEvent::new("POST", "/api/auth/login", &[]).json(&body);
            let (answer, timing) = login.http_timed(&request).await;
            assert_eq!(answer.status, 401, "{answer:?}");
            login.wait_until_ready().await;
            if time >= 3 {
                sample.add_time(timing.request);
            }
        }
    }
    logins
}
