//! Whether the response time of a login reveals which accounts exist.

use serde_json::json;
use tests::api::registration;
use tests::database::TestDatabase;
use tests::function::{Function, HttpEvent};

use crate::sample::Sample;

/// Milliseconds until a login is refused.
pub(crate) struct Logins {
    pub(crate) unknown_address: Sample,
    pub(crate) wrong_password: Sample,
}

impl Logins {
    /// The median of the slower case divided by that of the faster one.
    pub(crate) fn ratio(&self) -> f64 {
        let ratio = self.unknown_address.median() / self.wrong_password.median();
        ratio.max(1.0 / ratio)
    }
}

/// Logs in with an unknown address and with a wrong password, in turn.
pub(crate) async fn measure(own: &TestDatabase, rounds: usize) -> Logins {
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
    let unknown = registration();
    // The first rounds do not count: they connect, and insert the rows of the rate limits.
    for round in 0..rounds + 3 {
        for (account, sample) in [
            (&unknown, &mut logins.unknown_address),
            (&user, &mut logins.wrong_password),
        ] {
            let body = json!({"email": account["email"], "password": "not this one"});
            let request = HttpEvent::new("POST", "/api/auth/login", &[]).json(&body);
            let (answer, timing) = login.http_timed(&request).await;
            assert_eq!(answer.status, 401, "{answer:?}");
            login.wait_until_ready().await;
            if round >= 3 {
                sample.add_time(timing.request);
            }
        }
    }
    logins
}
