//! Sessions and personal tokens, and what expires.

use std::time::SystemTime;

use serde_json::json;
use shared::Error;
use shared::accounts::{self, NewToken, OtherSessions};
use shared::auth::{Caller, Names, personal_token, rate_limit};

use super::step::Step;
use super::{PASSWORDS, SmokeTest};

impl SmokeTest<'_> {
    /// Refreshes a login, and lists and ends sessions of both kinds.
    pub(super) async fn do_everything_with_sessions(&self, caller: &Caller) -> Result<(), String> {
        let step = Step("refresh a login");
        // The token of this caller names the user otherwise.
        let refreshed = accounts::refresh(
            self.database,
            &self.tokens,
            caller,
            Names::default(),
            self.session_max_days,
            SystemTime::now(),
        );
        let refreshed = self.caller(step, &step.answer(refreshed.await)?)?;

        let step = Step("create a personal token");
        let token = json!({
            "name": "\u{df}".repeat(100), "scope": "tasks:read", "expires_in_days": 366, "password": PASSWORDS[0],
        });
        let token = step.input(&token, NewToken::from_body)?;
        let created = accounts::create_token(self.database, &self.requester, caller, token).await;
        let mut created = step.answer(created)?;
        let text = created["access_token"].take();
        let parsed = personal_token::parse(text.as_str().unwrap_or_default());
        let (owner, _) = step.result(parsed)?;
        step.answer(accounts::get(self.database, &owner).await)?;

        let step = Step("list the sessions");
        let sessions = accounts::list_sessions(self.database, caller).await;
        let sessions = step.answer(sessions)?;
        let listed = sessions.as_array().into_iter().flatten();
        let listed = listed.filter(|session| session["id"] == created["id"]);
        let [listed] = listed.collect::<Vec<_>>()[..] else {
            return step.unexpected(None::<Error>, "no such session or several");
        };
        step.require_fields(&created, listed)?;

        let step = Step("end a session");
        let id = created["id"].as_i64().unwrap_or_default();
        step.result(accounts::end_session(self.database, caller, id).await)?;
        self.require_ended(step, &owner).await?;
        let step = Step("end the other sessions");
        step.result(accounts::end_sessions(self.database, caller, OtherSessions::All).await)?;
        self.require_ended(step, &refreshed).await
    }

    /// Looks for expired rows, and deletes none of others.
    pub(super) async fn purge(&self) -> Result<(), String> {
        let sessions = accounts::delete_expired(self.database, i64::MAX, 1).await;
        Step("purge sessions").result(sessions)?;
        let attempts = rate_limit::delete_expired(self.database, 0).await;
        Step("purge counts of attempts").result(attempts)?;
        Ok(())
    }
}
