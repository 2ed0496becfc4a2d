//! What a function holds as long as its process lives.

use super::error::Error;
use super::request::Request;
use crate::auth::active_session;
use crate::auth::rate_limit::{RateLimiter, Requester};
use crate::auth::{Caller, Tokens};
use crate::database::Database;
use crate::settings::{AccountLimits, Settings, TrustedProxies};
use crate::telemetry;

/// What the handlers work with.
#[derive(Debug)]
pub struct App {
    /// The database. The first statement connects to it.
    pub database: Database,
    /// Issues access tokens and verifies them.
    pub tokens: Tokens,
    /// What one account may store.
    pub account_limits: AccountLimits,
    rate_limiter: RateLimiter,
    trusted_proxies: TrustedProxies,
}

impl App {
    /// Builds the app from the settings. Nothing is connected to yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            tokens: Tokens::new(&settings),
            account_limits: settings.account_limits,
            rate_limiter: RateLimiter::new(&settings),
            trusted_proxies: settings.trusted_proxies,
            database: Database::new(settings.database, settings.max_concurrency),
        }
    }

    /// Who is calling, as the request's token says. The session is not looked up here: the statement that does the
    /// caller's work does so.
    ///
    /// # Errors
    /// A 401 where there is no token, or one that is not ours or no longer valid.
    pub fn authenticate(&self, request: &Request) -> Result<Caller, Error> {
        let caller = self.tokens.verify(request.bearer_token()?)?;
        telemetry::context::set_user_id(caller.user_id);
        Ok(caller)
    }

    /// Whom a request comes from, for the rate limits.
    pub fn requester(&self, request: &Request) -> Requester {
        let address = request.client_address(&self.trusted_proxies);
        self.rate_limiter.requester(address)
    }

    /// Returns valid input as it is. Where the input is refused, this looks up the session first: a dead session is
    /// reported before a bad request.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] where the session is not active, and otherwise the refusal.
    pub async fn report_dead_session_first<T>(
        &self,
        caller: &Caller,
        input: Result<T, impl Into<Error>>,
    ) -> Result<T, Error> {
        match input {
            Ok(input) => Ok(input),
            Err(refusal) => {
                active_session::check(&self.database, caller).await?;
                Err(refusal.into())
            }
        }
    }
}
