//! What a function holds as long as its process lives.

use super::error::Error;
use super::request::Request;
use crate::auth::rate_limit::{RateLimiter, Requester};
use crate::auth::{self, Caller, Scope, Tokens, active_session, personal_token};
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
    /// How many days after the password was given a login can be refreshed.
    pub session_max_days: i32,
    rate_limiter: RateLimiter,
    trusted_proxies: TrustedProxies,
}

impl App {
    /// Builds the app from the settings. Nothing is connected to yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            tokens: Tokens::new(&settings),
            account_limits: settings.account_limits,
            session_max_days: settings.session_max_days,
            rate_limiter: RateLimiter::new(&settings),
            trusted_proxies: settings.trusted_proxies,
            database: Database::new(settings.database, settings.max_concurrency),
        }
    }

    /// Who is calling, for a route that accepts logins alone. The session is not looked up here: the statement that does
    /// the caller's work does so.
    ///
    /// # Errors
    /// A 401 where there is no token, or one that is not ours or no longer valid; [`Error::TokenNotAllowed`] where it is an
    /// active personal token.
    pub async fn authenticate(&self, request: &Request) -> Result<Caller, Error> {
        self.authenticate_by(request, None).await
    }

    /// The same for a route that also accepts personal tokens: those whose scope includes this one.
    ///
    /// # Errors
    /// As for [`App::authenticate`]; [`Error::TokenNotAllowed`] where an active personal token has another scope.
    pub async fn authenticate_with_scope(
        &self,
        request: &Request,
        scope: Scope,
    ) -> Result<Caller, Error> {
        self.authenticate_by(request, Some(scope)).await
    }

    async fn authenticate_by(
        &self,
        request: &Request,
        accepted: Option<Scope>,
    ) -> Result<Caller, Error> {
        let token = request.bearer_token()?;
        if personal_token::is_personal(token) {
            let (caller, scope) = personal_token::parse(token)?;
            telemetry::context::set_user_id(caller.user_id);
            if accepted.is_some_and(|accepted| scope.includes(accepted)) {
                return Ok(caller);
            }
            active_session::check(&self.database, &caller).await?;
            return Err(Error::TokenNotAllowed);
        }
        let caller = self.tokens.verify(token)?;
        telemetry::context::set_user_id(caller.user_id);
        self.refuse_hash_as_session(&caller).await?;
        Ok(caller)
    }

    /// A signed token must not name the session of a personal token. No token of ours can, but the legacy service may have
    /// signed any `jti`.
    async fn refuse_hash_as_session(&self, caller: &Caller) -> Result<(), Error> {
        if personal_token::could_be_hash(&caller.session)
            && active_session::kind(&self.database, caller)
                .await?
                .is_some_and(|kind| kind == "token")
        {
            return Err(auth::Error::InvalidToken.into());
        }
        Ok(())
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
