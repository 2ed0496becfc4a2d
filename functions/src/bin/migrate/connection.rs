//! The connection of the migrations: directly to the server, so that all of them, and their lock, are in one session.

use std::future::poll_fn;
use std::time::Duration;

use shared::Cause;
use shared::database::{ConnectError, DatabaseUrl, Tls, retry_with_backoff, schema_version};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::{AsyncMessage, CancelToken, Client};
use tracing::{debug, warn};

use crate::error::MigrateError;
use crate::role_settings;

/// Connecting. No user waits for it.
const CONNECT: Duration = Duration::from_secs(15);

/// Waiting for another run of the migrations to finish.
const MIGRATION_LOCK: Duration = Duration::from_mins(1);

/// A migration's wait for a table that another session uses. Meanwhile everyone else waits behind the migration.
pub(crate) const TABLE_LOCK: Duration = Duration::from_secs(10);

/// Ending the session of a run that was given up.
const END_SESSION: Duration = Duration::from_secs(5);

/// The advisory lock that is held while migrations run, so that two runs do not meet. Any number will do that is the same in
/// every release.
const LOCK_ID: i64 = 0x746f_646f_5f6d_6967;

/// A migration takes as long as it needs. A role or a database may have timeouts that would end it.
const NO_TIMEOUTS: &str = "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0";

// This timeout exists since PostgreSQL 17, and older servers refuse a connection with it. A run that is interrupted must not
// go on at the server: it would keep its locks. A role or a database may also have settings that change how the server
// writes definitions.
const SET_DEFAULTS: &str = "
    SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout';
    SET client_connection_check_interval = '1s';
    SET quote_all_identifiers = off;
    SET IntervalStyle = postgres;
    SET DateStyle = ISO;
    SET standard_conforming_strings = on";

/// A direct connection to the server.
pub(crate) struct MigrationConnection {
    /// Runs the statements.
    pub(crate) client: Client,
    /// The timeouts of the role that are not used, a sentence each.
    pub(crate) notes: Vec<String>,
    /// The session at the server.
    pub(crate) session: Session,
    warnings: mpsc::UnboundedReceiver<String>,
}

/// A session at the server, which outlives a client that is dropped during a statement.
#[derive(Clone)]
pub(crate) struct Session {
    cancel: CancelToken,
    tls: Tls,
    /// Closed with the session.
    open: watch::Receiver<()>,
}

impl Session {
    /// Ends the session, whose client was dropped: cancels its statement, and waits until its transaction is rolled back and
    /// its locks are released.
    pub(crate) async fn end(mut self) {
        let ended = async {
            if let Err(error) = self.cancel.cancel_query(self.tls).await {
                debug!(%error, "the statement could not be cancelled");
            }
            // Nothing is ever sent.
            let _ = self.open.changed().await;
        };
        if timeout(END_SESSION, ended).await.is_err() {
            warn!("the server may still be at work for this run, and hold its locks");
        }
    }
}

impl MigrationConnection {
    /// Connects, and checks that there is no pooler in between. Neon's poolers are recognised by their host when the
    /// settings are read. Any other pooler is recognised by what it does with a setting of the session: it refuses it, or
    /// does not keep it.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, MigrateError> {
        let tls = Tls::new(url).map_err(|error| Cause::from_error("TLS", error))?;
        let mut config = url.driver_config();
        let lock_timeout = format!("{}ms", TABLE_LOCK.as_millis());
        let options = config.get_options().unwrap_or_default();
        // Our tables are in the schema public, whatever the role's own search_path is.
        let options =
            format!("{options} -c lock_timeout={lock_timeout} {NO_TIMEOUTS} -c search_path=public");
        config.options(options.trim_start());

        let connect = || async {
            let connected = config.connect(tls.clone()).await;
            connected.map_err(|error| {
                if is_refused_setting(&error) {
                    ConnectError::Permanent(Cause::from_error("could not connect", error))
                } else {
                    ConnectError::from_connecting(error, url)
                }
            })
        };
        let (client, mut connection) = match retry_with_backoff(CONNECT, connect, |_| ()).await {
            Ok(connected) => connected,
            Err(error) if error.to_string().contains(REFUSED_SETTING) => {
                return Err(MigrateError::Pooler);
            }
            Err(error) => return Err(error.into()),
        };
        let (sender, warnings) = mpsc::unbounded_channel();
        let (session_end, open) = watch::channel(());
        let session = Session {
            cancel: client.cancel_token(),
            tls,
            open,
        };
        tokio::spawn(async move {
            let _session_end = session_end;
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notice(notice))
                        if notice.parsed_severity() == Some(Severity::Warning) =>
                    {
                        // Where nobody listens any more, the run is over.
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

        let setting = "SELECT setting || unit FROM pg_settings WHERE name = 'lock_timeout'";
        let setting: String = client
            .query_one(setting, &[])
            .await
            .map_err(MigrateError::from_step("reading a setting"))?
            .get(0);
        if setting != lock_timeout {
            return Err(MigrateError::Pooler);
        }
        let mut connection = Self {
            client,
            notes: Vec::new(),
            session,
            warnings,
        };
        connection.override_settings().await?;
        Ok(connection)
    }

    /// Replaces settings that the role or the database has for all sessions.
    async fn override_settings(&mut self) -> Result<(), MigrateError> {
        self.client
            .batch_execute(SET_DEFAULTS)
            .await
            .map_err(MigrateError::from_step("setting the session's defaults"))?;
        for (name, value) in role_settings::read(&self.client, None).await? {
            let instead = match name.as_str() {
                "lock_timeout" => format!("waits for {TABLE_LOCK:?}"),
                "statement_timeout"
                | "transaction_timeout"
                | "idle_in_transaction_session_timeout" => "has no such limit".to_owned(),
                _ => continue,
            };
            self.notes.push(format!(
                "{name} is {value} for this role; this run {instead}"
            ));
        }
        Ok(())
    }

    /// Keeps other runs out until the session ends.
    pub(crate) async fn lock(&self) -> Result<(), MigrateError> {
        let statements = format!(
            "SET lock_timeout = {}; SELECT pg_advisory_lock({LOCK_ID}); RESET lock_timeout",
            MIGRATION_LOCK.as_millis()
        );
        let locked = self.client.batch_execute(&statements).await;
        locked.map_err(|error| {
            if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
                MigrateError::AnotherRun(MIGRATION_LOCK)
            } else {
                MigrateError::from_step("taking the migration lock")(error)
            }
        })
    }

    /// The warnings of the server so far.
    pub(crate) fn warnings(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.warnings.try_recv().ok()).collect()
    }
}

/// What PgBouncer answers to settings in the startup message. PostgreSQL accepts them.
const REFUSED_SETTING: &str = "unsupported startup parameter";

fn is_refused_setting(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|error| error.message().contains(REFUSED_SETTING))
}

/// The schema's version.
pub(crate) async fn read_version(client: &Client) -> Result<i32, MigrateError> {
    schema_version::read(client)
        .await
        .map_err(MigrateError::from_step("reading the schema's version"))
}
