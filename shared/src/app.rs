//! What a function holds for as long as its process lives.

use crate::auth::Tokens;
use crate::auth::session;
use crate::auth::throttle::{Limits, Stranger};
use crate::auth::{Caller, Claims};
use crate::database::Database;
use crate::settings::Settings;
use crate::{Error, Request, telemetry};

/// The parts that the handlers work with.
#[derive(Debug)]
pub struct App {
    /// The database, which is connected to when it is first asked.
    pub database: Database,
    /// What issues tokens and knows its own.
    pub tokens: Tokens,
    limits: Limits,
}

impl App {
    /// Puts the parts together. Nothing is connected to yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            tokens: Tokens::new(&settings),
            limits: settings.limits,
            database: Database::new(settings.database, settings.max_concurrency),
        }
    }

    /// Who the request's token says is calling. Whether the session still lives is seen by the statement that does
    /// the caller's work.
    ///
    /// # Errors
    /// A 401 where there is no token, or it is not one of ours or no longer valid.
    pub fn caller(&self, request: &Request) -> Result<Caller, Error> {
        let Claims { user_id, session } = self.tokens.verify(request.bearer_token()?)?;
        telemetry::request::called_by(user_id);
        Ok(Caller { user_id, session })
    }

    /// Who the request comes from, where no token or not a token alone tells who is calling.
    pub fn stranger(&self, request: &Request) -> Stranger {
        Stranger::new(request.source_ip(), self.limits)
    }

    /// Lets a request through whose path and body are in order. One that is refused has its session looked up first,
    /// since a dead session goes before a bad request.
    ///
    /// # Errors
    /// The refusal, or [`Error::InvalidToken`] where the session does not live.
    pub async fn admit<T>(&self, caller: &Caller, input: Result<T, Error>) -> Result<T, Error> {
        if input.is_err() {
            session::check(&self.database, caller).await?;
        }
        input
    }
}
