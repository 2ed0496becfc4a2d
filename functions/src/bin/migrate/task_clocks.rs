//! The clocks of the users' tasks. Rows that were imported or replicated without triggers leave them behind.

use tokio_postgres::Client;

use crate::error::MigrateError;

/// Whether this role may read what [`SELECT_DRIFTED`] reads.
const IS_READABLE: &str = r#"
    SELECT has_table_privilege('public.task_clock', 'SELECT')
       AND has_table_privilege('public.task', 'SELECT')
       AND has_table_privilege('public."user"', 'SELECT')"#;

/// The users whose clock is missing, is behind a task, or counts other tasks than there are. One snapshot has both, so that
/// concurrent writes make no difference.
const SELECT_DRIFTED: &str = r#"
    SELECT account.id,
           CASE WHEN clock.user_id IS NULL THEN 'none'
                ELSE format('version %s, tasks %s, bytes %s', clock.version, clock.tasks, clock.bytes) END,
           format('version %s or later, tasks %s, bytes %s', coalesce(counted.version, 0), coalesce(counted.tasks, 0),
                  coalesce(counted.bytes, 0))
    FROM public."user" AS account
    LEFT JOIN public.task_clock AS clock ON clock.user_id = account.id
    LEFT JOIN (
        SELECT user_id, max(version) AS version, count(*) AS tasks,
               sum(public.task_bytes(title, description, due_date, tags, recursion_pattern)) AS bytes
        FROM public.task
        GROUP BY user_id
    ) AS counted ON counted.user_id = account.id
    WHERE clock.user_id IS NULL
       OR clock.version < coalesce(counted.version, 0)
       OR clock.tasks <> coalesce(counted.tasks, 0)
       OR clock.bytes <> coalesce(counted.bytes, 0)
    ORDER BY account.id"#;

/// How many clocks one transaction repairs: it holds them until it ends.
const BATCH: usize = 200;

const REPAIR: &str =
    "SELECT count(public.todo_repair_task_clock(id)) FROM unnest($1::integer[]) AS id";

/// Users whose clocks do not agree with their tasks.
#[derive(Debug)]
pub(crate) struct Drift {
    user_ids: Vec<i32>,
    /// What is stored for the first of them, and what should be.
    found: String,
    expected: String,
}

impl Drift {
    /// The difference, for `verify`.
    pub(crate) fn describe(&self) -> String {
        format!(
            "table task_clock, {}: found {}; expected {} (migrate sets it)",
            self.users(),
            self.found,
            self.expected
        )
    }

    /// What was done, for `migrate`.
    pub(crate) fn describe_as_corrected(&self) -> String {
        format!(
            "the clock of the tasks did not agree with the tasks ({}: found {}; expected {}); it was set",
            self.users(),
            self.found,
            self.expected
        )
    }

    fn users(&self) -> String {
        let first = self.user_ids.first().copied().unwrap_or_default();
        match self.user_ids.len() {
            1 => format!("user {first}"),
            count => format!("{count} users, such as {first}"),
        }
    }
}

/// The clocks that do not agree with the tasks. Reads every task once. `None` also where this role may not read them.
///
/// # Errors
/// Those of the database.
pub(crate) async fn find_drifted(client: &Client) -> Result<Option<Drift>, MigrateError> {
    let error = MigrateError::from_step("comparing the clocks with the tasks");
    let is_readable = client.query_one(IS_READABLE, &[]).await;
    if !is_readable.map_err(&error)?.get::<_, bool>(0) {
        return Ok(None);
    }
    let rows = client.query(SELECT_DRIFTED, &[]).await.map_err(&error)?;
    Ok(rows.first().map(|first| Drift {
        user_ids: rows.iter().map(|row| row.get(0)).collect(),
        found: first.get(1),
        expected: first.get(2),
    }))
}

/// Repairs the clocks that do not agree with the tasks, and returns how they were found. The functions may be at work
/// meanwhile.
///
/// # Errors
/// Those of the database.
pub(crate) async fn correct(client: &Client) -> Result<Option<Drift>, MigrateError> {
    let drift = find_drifted(client).await?;
    for user_ids in drift.iter().flat_map(|drift| drift.user_ids.chunks(BATCH)) {
        client
            .execute(REPAIR, &[&user_ids])
            .await
            .map_err(MigrateError::from_step("repairing clocks"))?;
    }
    Ok(drift)
}
