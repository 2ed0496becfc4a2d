//! Runs every statement of the functions, as their role, in a transaction that is rolled back.
//!
//! It calls what the functions call, for a user of its own, and compares what was written with what is read. A test checks
//! that it leaves out no function of the library that takes a database.

mod step;

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use shared::accounts::{
    self, AccountDeletion, Credentials, NewToken, NewUser, OtherSessions, PasswordChange,
};
use shared::auth::rate_limit::{self, RateLimiter, Requester};
use shared::auth::{self, Caller, Names, Tokens, active_session, personal_token};
use shared::database::Database;
use shared::http::conditional::EntityTags;
use shared::settings::{AccountLimits, Settings, variable};
use shared::tasks::{self, Change, CreationKey, NewTask, TaskChanges, TaskQuery};
use shared::validation::Query;
use shared::{Cause, Error};
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

    /// Registers and reads an account. Returns the session of the registration.
    async fn register(&self, prefix: &str) -> Result<Caller, String> {
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

    fn caller(&self, step: Step, answer: &Value) -> Result<Caller, String> {
        let token = answer["access_token"].as_str().unwrap_or_default();
        step.result(self.tokens.verify(token))
    }

    async fn do_everything_with_tasks(&self, caller: &Caller) -> Result<(), String> {
        let full = json!({
            "title": "\u{df}".repeat(200), "description": "\u{1f600}", "due_date": "9".repeat(50), "priority": "High",
            "tags": "one,two", "recursion_pattern": "r".repeat(100), "completed": true,
        });
        let small = json!({
            "title": "title", "description": null, "due_date": null, "priority": "Low",
            "tags": null, "recursion_pattern": null, "completed": false,
        });

        let step = Step("create a task");
        let mut created = Vec::new();
        for fields in [&full, &small] {
            let new = step.input(fields, NewTask::from_body)?;
            let key = step.result(CreationKey::from_header(None))?;
            // The second time it is a repetition.
            let mut answers = Vec::new();
            for _ in 0..2 {
                let created = tasks::create(self.database, caller, &new, &key, self.limits).await;
                let created = step.result(created)?;
                answers.push(step.answer(Ok::<_, Error>(created.task.content))?);
            }
            step.require_equal(&answers[1], &answers[0])?;
            let task = answers.swap_remove(0);
            step.require_fields(&task, fields)?;
            created.push(task);
        }

        for (query, expected) in [
            ("", &created[..]),
            (
                "q=TITLE&completed=no&priority=Low&sort=-id&limit=1",
                &created[1..],
            ),
            ("tag=ONE&tag=two&q=%F0%9F%98%80&sort=title", &created[..1]),
            ("sort=due_date&limit=1", &created[..1]),
            (
                "due_from=0001-01-01&due_to=9999-12-31&sort=-created_at",
                &[],
            ),
        ] {
            let step = Step("list tasks");
            let nothing = EntityTags::Listed(Vec::new());
            let query = step.result(TaskQuery::from_query(&Query::new(query.to_owned())))?;
            let list = tasks::list(self.database, caller, &nothing, &query, usize::MAX).await;
            let list = step.result(list)?.content;
            step.require_equal(&step.answer(Ok::<_, Error>(list))?, &json!(expected))?;
        }

        let step = Step("change a task");
        let task = created.swap_remove(0);
        let id = task["id"].as_i64().unwrap_or_default();
        let changes = step.input(&small, TaskChanges::from_body)?;
        let updated = self
            .change(step, caller, id, Change::Update(&changes))
            .await?;
        step.require_fields(&updated, &small)?;
        step.require_later(&updated, &task)?;
        self.require_task(caller, &updated).await?;

        let step = Step("complete a task");
        let toggled = self.change(step, caller, id, Change::Toggle).await?;
        step.require_equal(&toggled["completed"], &json!(true))?;
        step.require_later(&toggled, &updated)?;
        self.require_task(caller, &toggled).await?;

        let step = Step("delete a task");
        let deleted = self.change(step, caller, id, Change::Delete).await?;
        step.require_equal(&deleted, &toggled)?;
        match tasks::get(self.database, caller, id).await {
            Err(Error::TaskNotFound) => Ok(()),
            other => step.unexpected(other.err(), "the task again"),
        }
    }

    /// Refreshes a login, and lists and ends sessions of both kinds.
    async fn do_everything_with_sessions(&self, caller: &Caller) -> Result<(), String> {
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

    async fn change(
        &self,
        step: Step,
        caller: &Caller,
        id: i64,
        change: Change<'_>,
    ) -> Result<Value, String> {
        let any = EntityTags::Any;
        let changed = tasks::change(self.database, caller, id, &any, change, self.limits).await;
        step.answer(changed.map(|task| task.content))
    }

    async fn require_task(&self, caller: &Caller, expected: &Value) -> Result<(), String> {
        let step = Step("read a task");
        let id = expected["id"].as_i64().unwrap_or_default();
        let task = tasks::get(self.database, caller, id).await;
        let task = step.answer(task.map(|task| task.content))?;
        step.require_equal(&task, expected)
    }

    /// Changes the password, which ends all other sessions, and logs out of a new one.
    async fn change_password(&self, caller: &Caller) -> Result<(), String> {
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

    async fn require_ended(&self, step: Step, caller: &Caller) -> Result<(), String> {
        match active_session::check(self.database, caller).await {
            Err(auth::Error::InvalidToken) => Ok(()),
            other => step.unexpected(other.err(), "the session still active"),
        }
    }

    /// Looks for expired rows, and deletes none of others.
    async fn purge(&self) -> Result<(), String> {
        let sessions = accounts::delete_expired(self.database, i64::MAX, 1).await;
        Step("purge sessions").result(sessions)?;
        let attempts = rate_limit::delete_expired(self.database, 0).await;
        Step("purge counts of attempts").result(attempts)?;
        Ok(())
    }

    async fn delete_account(&self, caller: &Caller) -> Result<(), String> {
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
