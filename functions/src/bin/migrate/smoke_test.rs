//! Runs every statement of the functions, as their role, in a transaction that is rolled back.
//!
//! It calls what the functions call, for a user of its own, and compares what was written with what is read. A test checks
//! that it leaves out no function of the library that takes a database.

mod accounts;
mod sessions;
mod step;
mod tasks;

use std::sync::Arc;

use shared::Cause;
use shared::auth::Tokens;
use shared::auth::rate_limit::{RateLimiter, Requester};
use shared::database::Database;
use shared::settings::{AccountLimits, Settings, variable};
use tokio_postgres::Client;

use crate::error::MigrateError;
use crate::migration_settings::MigrationSettings;
use crate::{role_settings, roles};
use step::Step;

/// How the run ended.
pub(crate) enum Outcome {
    /// Every statement did what it should.
    Passed,
    /// One did not; the text says which, and what happened.
    Failed(String),
    /// The statements could not be run as the functions' role; the text says why, and what to do.
    NotRun(String),
}

// Longer than a function waits. The run's rows are its own, so it waits only where a whole table is locked.
const BEGIN: &str = "
    BEGIN;
    SET LOCAL lock_timeout = '10s';
    SET LOCAL statement_timeout = '10s';
    SET CONSTRAINTS ALL IMMEDIATE";

const SELECT_RANDOM: &str =
    "SELECT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')";

const SET_ROLE: &str = "SELECT set_config('role', $1::text, true)";

/// The statement that gives this transaction a setting of a role. No row for a setting that the role could not change
/// itself, or that has no effect on a transaction that has begun.
const SET_LOCAL: &str = "
    SELECT format('SELECT set_config(%L, %L, true)',
                  CASE name WHEN 'default_transaction_read_only' THEN 'transaction_read_only' ELSE name END,
                  $2::text)
    FROM pg_settings
    WHERE name = lower($1::text) AND context = 'user'
      AND name NOT IN ('role', 'session_authorization', 'default_transaction_isolation')";

/// Runs the statements, and closes the session. Nothing stays, except that sequences have advanced.
///
/// # Errors
/// [`MigrateError`] where the session fails.
pub(crate) async fn run(
    client: Client,
    settings: &MigrationSettings,
) -> Result<Outcome, MigrateError> {
    let step = MigrateError::from_step("preparing to run the statements of the functions");
    let role = &settings.functions_role;
    let mut role_settings = Vec::new();
    for (name, value) in role_settings::read(&client, Some(role)).await? {
        let set = client.query_opt(SET_LOCAL, &[&name, &value]).await;
        let set = set.map_err(&step)?.map(|row| row.get::<_, String>(0));
        role_settings.extend(set.map(|set| (name, set)));
    }
    let random: String = client
        .query_one(SELECT_RANDOM, &[])
        .await
        .map_err(&step)?
        .get(0);

    // The session ends without a COMMIT, wherever this function ends.
    client.batch_execute(BEGIN).await.map_err(&step)?;
    roles::allow_to_work_as(&client, role).await?;
    if let Err(error) = client.execute(SET_ROLE, &[role]).await {
        let owner = settings.database.role();
        return Ok(Outcome::NotRun(format!(
            "statements of the functions: not run, because {}; expected that {owner} may work as {role} (as a role that may \
             grant that: GRANT {role} TO {owner})",
            Cause::from_error("SET ROLE failed", error)
        )));
    }
    for (name, set) in role_settings {
        let result = roles::try_in_savepoint(&client, &set).await;
        if let Err(error) = result.and_then(|result| result) {
            let cause = Cause::from_error("it cannot be used", error);
            return Ok(Outcome::Failed(format!(
                "role {role}, setting {name}: {cause}"
            )));
        }
    }

    let client = Arc::new(client);
    let database = Database::in_session(client.clone());
    let outcome = match SmokeTest::new(&database, &random) {
        Ok(test) => test.run().await,
        Err(problem) => Err(problem),
    };
    // Where the session is broken, the server has rolled back.
    let _ = client.batch_execute("ROLLBACK").await;
    Ok(match outcome {
        Ok(()) => Outcome::Passed,
        Err(problem) => Outcome::Failed(format!(
            "statements of the functions, as the role {role}: {problem}"
        )),
    })
}

/// The password before and after it is changed.
const PASSWORDS: [&str; 2] = ["a password of the smoke test", "another password of it"];

/// A user who does everything once.
struct SmokeTest<'a> {
    database: &'a Database,
    tokens: Tokens,
    limits: AccountLimits,
    session_max_days: i32,
    requester: Requester,
    email: String,
}

impl<'a> SmokeTest<'a> {
    fn new(database: &'a Database, random: &str) -> Result<Self, String> {
        // Tokens and counts of attempts need a key. This one is forgotten with the run.
        let settings = Settings::from_lookup(&|name| match name {
            "SECRET_KEY" => Some(random.to_owned()),
            "DATABASE_URL" => variable("DATABASE_URL_UNPOOLED").or_else(|| variable(name)),
            "ALLOW_LOCAL_DATABASE" => variable(name),
            _ => None,
        });
        let settings = Step("prepare").result(settings)?;
        Ok(Self {
            database,
            tokens: Tokens::new(&settings),
            limits: settings.account_limits,
            session_max_days: settings.session_max_days,
            requester: RateLimiter::new(&settings).requester(Some([192, 0, 2, 1].into())),
            email: format!("{}@example.com", &random[..40]),
        })
    }

    async fn run(&self) -> Result<(), String> {
        let step = Step("connect");
        step.result(self.database.connect().await)?;
        step.result(self.database.check_health().await)?;
        // A second row shows whether a value has to be unique that is not.
        self.register("2").await?;
        let caller = self.register("").await?;
        self.do_everything_with_tasks(&caller).await?;
        self.do_everything_with_sessions(&caller).await?;
        self.change_password(&caller).await?;
        self.purge().await?;
        self.delete_account(&caller).await
    }
}
