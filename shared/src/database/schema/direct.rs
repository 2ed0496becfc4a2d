//! The one connection that migrations run through: straight to the server, so that all of them, and their lock, are in
//! one session.

use std::future::poll_fn;

use tokio::sync::mpsc;
use tokio_postgres::error::{DbError, Severity, SqlState};
use tokio_postgres::{AsyncMessage, Client};
use tracing::debug;

use super::failed;
use crate::database::error::ConnectError;
use crate::database::retry;
use crate::database::tls::Tls;
use crate::deadlines;
use crate::error::Cause;
use crate::settings::DatabaseUrl;

/// Held while migrations run, so that two runs do not meet. Any number that is the same in every release will do.
const LOCK: i64 = 0x746f_646f_5f6d_6967;

pub(super) struct Direct {
    pub(super) client: Client,
    warnings: mpsc::UnboundedReceiver<String>,
}

/// Connects, and sees that there is no pooler in between. Neon's are known by their host, and were refused with the
/// settings; any other is known by what it makes of a setting of the session: it refuses it or does not hold it.
pub(super) async fn connect(url: &DatabaseUrl) -> Result<Direct, Cause> {
    let tls = Tls::new(url).map_err(|error| Cause::from_error("TLS", &error))?;
    let mut config = url.driver_config();
    let lock_timeout = format!("{}ms", deadlines::TABLE_LOCK.as_millis());
    let options = config
        .get_options()
        .map_or_else(String::new, |options| format!("{options} "));
    config.options(format!("{options}-c lock_timeout={lock_timeout}"));

    let connect = || async {
        config.connect(tls.clone()).await.map_err(|error| {
            if is_refused_setting(&error) {
                ConnectError::Permanent(through_a_pooler())
            } else {
                ConnectError::of_connecting(&error, url)
            }
        })
    };
    let (client, mut connection) = retry::persist(deadlines::MIGRATION_CONNECT, connect, |_| ())
        .await
        .map_err(ConnectError::into_cause)?;
    let (sender, warnings) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notice(notice))
                    if notice.parsed_severity() == Some(Severity::Warning) =>
                {
                    // Where no one listens any more, the run is over.
                    let _ = sender.send(notice.message().to_owned());
                }
                Ok(_) => {}
                Err(error) => {
                    debug!(%error, "the connection ended");
                    return;
                }
            }
        }
    });

    let kept = "SELECT setting || unit FROM pg_settings WHERE name = 'lock_timeout'";
    let kept: String = client
        .query_one(kept, &[])
        .await
        .map_err(failed("reading a setting"))?
        .get(0);
    if kept == lock_timeout {
        Ok(Direct { client, warnings })
    } else {
        Err(through_a_pooler())
    }
}

fn through_a_pooler() -> Cause {
    Cause::new(
        "DATABASE_URL_UNPOOLED (or DATABASE_URL) leads to a connection pooler, which would hand each statement of a \
         migration, and its lock, to another session. Write the direct connection string: on Neon, the one whose host \
         has no \"-pooler\"",
    )
}

/// Whether the server would not take the settings that a client may ask for while it connects. PostgreSQL does;
/// PgBouncer says "unsupported startup parameter".
fn is_refused_setting(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|error| error.message().contains("unsupported startup parameter"))
}

impl Direct {
    /// Keeps other runs out until the session ends.
    pub(super) async fn lock(&self) -> Result<(), Cause> {
        let statements = format!(
            "SET lock_timeout = {}; SELECT pg_advisory_lock({LOCK}); RESET lock_timeout",
            deadlines::MIGRATION_LOCK.as_millis()
        );
        self.client.batch_execute(&statements).await.map_err(|error| {
            if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
                Cause::new(format!(
                    "another run of the migrations has been at work for {:?}; try again when it is done",
                    deadlines::MIGRATION_LOCK
                ))
            } else {
                failed("taking the migration lock")(error)
            }
        })
    }

    /// What the server has warned of so far.
    pub(super) fn warnings(mut self) -> Vec<String> {
        std::iter::from_fn(|| self.warnings.try_recv().ok()).collect()
    }
}

/// The code that the server gave, however deep the error lies.
pub(super) fn code<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a SqlState> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<DbError>() {
            return Some(error.code());
        }
        next = error.source();
    }
    None
}
