//! An account, from its registration to its deletion.

use std::time::SystemTime;

use serde_json::{Value, json};
use shared::Error;
use shared::accounts::{self, AccountDeletion, Credentials, NewUser, PasswordChange};
use shared::auth::{self, Caller, active_session};

use super::step::Step;
use super::{PASSWORDS, SmokeTest};

impl SmokeTest<'_> {
    /// Registers and reads an account. Returns the session of the registration.
    pub(super) async fn register(&self, prefix: &str) -> Result<Caller, String> {
        let step = Step("register");
        let email = format!("{prefix}{}", self.email);
        // As long as a username can be.
        let user = json!({"username": email[..30], "email": email, "password": PASSWORDS[0]});
        let user = step.input(&user, NewUser::from_body)?;
        let registered = accounts::register(
            self.database,
            &self.tokens,
            &self.requester,
            &user,
            SystemTime::now(),
        );
        let registered = step.answer(registered.await)?;
        step.require_equal(&registered["username"], &json!(email[..30]))?;
        step.require_equal(&registered["email"], &json!(email))?;
        let caller = self.caller(step, &registered)?;

        let step = Step("read the account");
        let hash = accounts::select_hash(self.database, caller.user_id).await;
        if step.result(hash)?.is_none() {
            step.unexpected(None::<Error>, "no hash of the account")?;
        }
        let account = step.answer(accounts::get(self.database, &caller).await)?;
        step.require_fields(&registered, &account)?;
        Ok(caller)
    }

    async fn log_in(&self, password: &str) -> Result<Caller, String> {
        let step = Step("log in");
        let credentials = json!({"email": self.email, "password": password});
        let credentials = step.input(&credentials, Credentials::from_body)?;
        let token = accounts::log_in(
            self.database,
            &self.tokens,
            &self.requester,
            &credentials,
            SystemTime::now(),
        );
        let caller = self.caller(step, &step.answer(token.await)?)?;
        Step("check the session").result(active_session::check(self.database, &caller).await)?;
        Ok(caller)
    }

    pub(super) fn caller(&self, step: Step, answer: &Value) -> Result<Caller, String> {
        let token = answer["access_token"].as_str().unwrap_or_default();
        step.result(self.tokens.verify(token))
    }

    /// Changes the password, which ends all other sessions, and logs out of a new one.
    pub(super) async fn change_password(&self, caller: &Caller) -> Result<(), String> {
        let other = self.log_in(PASSWORDS[0]).await?;
        let step = Step("change the password");
        let change = json!({"current_password": PASSWORDS[0], "new_password": PASSWORDS[1]});
        let change = step.input(&change, PasswordChange::from_body)?;
        let changed =
            accounts::change_password(self.database, &self.requester, caller, &change).await;
        step.result(changed)?;
        self.require_ended(step, &other).await?;

        let new = self.log_in(PASSWORDS[1]).await?;
        let step = Step("log out");
        step.result(accounts::log_out(self.database, &new).await)?;
        self.require_ended(step, &new).await
    }

    pub(super) async fn require_ended(&self, step: Step, caller: &Caller) -> Result<(), String> {
        match active_session::check(self.database, caller).await {
            Err(auth::Error::InvalidToken) => Ok(()),
            other => step.unexpected(other.err(), "the session still active"),
        }
    }

    pub(super) async fn delete_account(&self, caller: &Caller) -> Result<(), String> {
        let step = Step("delete the account");
        let password = json!({"password": PASSWORDS[1]});
        let deletion = step.input(&password, AccountDeletion::from_body)?;
        step.result(accounts::delete(self.database, &self.requester, caller, &deletion).await)?;
        match accounts::get(self.database, caller).await {
            Err(Error::InvalidToken) => Ok(()),
            other => step.unexpected(other.err(), "the account again"),
        }
    }
}
