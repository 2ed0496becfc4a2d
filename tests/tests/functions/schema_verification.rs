//! Differences between the schema and the expected one.

use tests::database::{TestDatabase, drop_template};
use tests::function::run;
use tests::newest_migration;

/// Changes of the schema, with the differences that `migrate --verify` reports.
const DRIFTS: [(&str, &[&str]); 33] = [
    (
        "ALTER TABLE task RENAME TO tasks",
        &["table task: missing"],
    ),
    (
        "ALTER TABLE task DROP COLUMN tags",
        &["table task, column tags: missing; expected text"],
    ),
    (
        "ALTER TABLE task ALTER title TYPE varchar(100)",
        &["table task, column title: found character varying(100) NOT NULL; expected character varying(200) NOT NULL"],
    ),
    (
        "ALTER TABLE task ALTER description TYPE varchar(9)",
        &["table task, column description: found character varying(9); expected text"],
    ),
    (
        "ALTER TABLE task ALTER due_date TYPE varchar(49)",
        &["table task, column due_date: found character varying(49); expected character varying(50), or wider"],
    ),
    (
        "ALTER TABLE \"user\" ALTER updated_at DROP DEFAULT, ALTER updated_at TYPE timestamptz",
        &["table user, column updated_at: found timestamp with time zone NOT NULL; expected timestamp without time zone NOT NULL DEFAULT (now() AT TIME ZONE 'utc'::text)"],
    ),
    (
        "ALTER TABLE task ALTER title DROP NOT NULL",
        &["table task, column title: found character varying(200); expected character varying(200) NOT NULL"],
    ),
    (
        "ALTER TABLE task ALTER due_date SET NOT NULL",
        &["table task, column due_date: found character varying(50) NOT NULL; expected character varying(50), or wider"],
    ),
    (
        "ALTER TABLE task ALTER completed DROP DEFAULT",
        &["table task, column completed: found boolean NOT NULL; expected boolean NOT NULL DEFAULT false"],
    ),
    (
        "ALTER TABLE task ALTER priority SET DEFAULT 'Low'",
        &["table task, column priority: found priority_enum NOT NULL DEFAULT 'Low'::priority_enum; expected priority_enum NOT NULL DEFAULT 'Medium'::priority_enum"],
    ),
    (
        "ALTER TABLE \"user\" ALTER created_at SET DEFAULT now()",
        &["table user, column created_at: found timestamp without time zone NOT NULL DEFAULT now(); expected timestamp without time zone NOT NULL DEFAULT (now() AT TIME ZONE 'utc'::text)"],
    ),
    (
        "ALTER TABLE task ALTER id DROP DEFAULT",
        &["table task, column id: found integer NOT NULL; expected serial NOT NULL"],
    ),
    (
        "ALTER SEQUENCE task_id_seq OWNED BY NONE",
        &["table task, column id: found integer NOT NULL DEFAULT nextval('task_id_seq'::regclass); expected serial NOT NULL"],
    ),
    (
        "ALTER TYPE priority_enum ADD VALUE 'Urgent' BEFORE 'High'",
        &["enum priority_enum: found Urgent, High, Medium, Low; expected High, Medium, Low"],
    ),
    (
        "ALTER TYPE priority_enum RENAME VALUE 'Low' TO 'LOW'",
        &["enum priority_enum: found High, Medium, LOW; expected High, Medium, Low"],
    ),
    (
        "ALTER TABLE task DROP CONSTRAINT task_pkey",
        &["table task, primary key: missing; expected (id)"],
    ),
    (
        "ALTER TABLE \"user\" DROP CONSTRAINT user_username_key",
        &["table user, unique key (username): missing"],
    ),
    (
        "ALTER TABLE session DROP CONSTRAINT session_token_jti_key; CREATE UNIQUE INDEX ON session (token_jti) WHERE revoked",
        &["table session, unique key (token_jti): missing"],
    ),
    (
        "ALTER TABLE task DROP CONSTRAINT task_user_id_fkey",
        &["table task, foreign key (user_id): missing; expected REFERENCES \"user\"(id) ON DELETE CASCADE"],
    ),
    (
        "ALTER TABLE task DROP CONSTRAINT task_user_id_fkey; ALTER TABLE task ADD FOREIGN KEY (user_id) REFERENCES \"user\" (id)",
        &["table task, foreign key (user_id): found REFERENCES \"user\"(id); expected REFERENCES \"user\"(id) ON DELETE CASCADE"],
    ),
    (
        "ALTER TABLE session DROP CONSTRAINT session_user_id_fkey; ALTER TABLE session ADD FOREIGN KEY (user_id) REFERENCES \"user\" (id) ON DELETE SET NULL",
        &["table session, foreign key (user_id): found REFERENCES \"user\"(id) ON DELETE SET NULL; expected REFERENCES \"user\"(id) ON DELETE CASCADE"],
    ),
    (
        "DROP INDEX idx_task_user_id",
        &["table task, index idx_task_user_id: missing; expected btree (user_id)"],
    ),
    (
        "DROP INDEX idx_task_user_id; CREATE INDEX idx_task_user_id ON task (user_id, id)",
        &["table task, index idx_task_user_id: found btree (user_id, id); expected btree (user_id)"],
    ),
    (
        "DROP INDEX idx_session_user_id; CREATE INDEX idx_session_user_id ON task USING hash (user_id)",
        &["table session, index idx_session_user_id: missing; expected btree (user_id)"],
    ),
    (
        "DROP INDEX idx_user_email_twin; CREATE INDEX idx_user_email_twin ON \"user\" (lower(email))",
        &["table user, index idx_user_email_twin: found btree (lower(email::text)); expected btree (lower(email::text)) WHERE email_key IS NULL"],
    ),
    (
        "DROP TRIGGER update_task_updated_at ON task",
        &["table task, trigger update_task_updated_at: missing; expected BEFORE UPDATE FOR EACH ROW WHEN (old.* IS DISTINCT FROM new.*) EXECUTE FUNCTION todo_set_task_version()"],
    ),
    (
        "CREATE OR REPLACE TRIGGER update_task_updated_at BEFORE UPDATE ON task FOR EACH ROW EXECUTE FUNCTION todo_set_updated_at()",
        &["table task, trigger update_task_updated_at: found BEFORE UPDATE FOR EACH ROW EXECUTE FUNCTION todo_set_updated_at(); expected BEFORE UPDATE FOR EACH ROW WHEN (old.* IS DISTINCT FROM new.*) EXECUTE FUNCTION todo_set_task_version()"],
    ),
    (
        "ALTER TABLE \"user\" DISABLE TRIGGER set_user_email_key",
        &["table user, trigger set_user_email_key: found BEFORE INSERT OR UPDATE OF email FOR EACH ROW EXECUTE FUNCTION set_user_email_key() DISABLED; expected BEFORE INSERT OR UPDATE OF email FOR EACH ROW EXECUTE FUNCTION set_user_email_key()"],
    ),
    (
        "CREATE OR REPLACE FUNCTION todo_set_updated_at() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        &["function todo_set_updated_at(): found RETURNS trigger LANGUAGE plpgsql AS BEGIN RETURN NEW; END; expected RETURNS trigger LANGUAGE plpgsql SET search_path=pg_catalog, pg_temp AS BEGIN NEW.updated_at := greatest( OLD.updated_at, least(OLD.updated_at, timestamp '294276-12-31 23:59:59.999998') + interval '1 microsecond', clock_timestamp() AT TIME ZONE 'utc' ); RETURN NEW; END"],
    ),
    // Additional objects and compatible changes are not reported.
    (
        "CREATE TABLE other (id integer); ALTER TABLE task ADD COLUMN other integer; CREATE INDEX other_index ON task (other);
         CREATE TYPE other_enum AS ENUM ('a'); CREATE VIEW tasks AS SELECT * FROM task",
        &[],
    ),
    (
        "ALTER TABLE task ALTER due_date TYPE text; ALTER TABLE session ALTER token TYPE varchar(500)",
        &[],
    ),
    (
        "ALTER TABLE \"user\" DROP CONSTRAINT user_username_key; CREATE UNIQUE INDEX by_name ON \"user\" (username)",
        &[],
    ),
    (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET quote_all_identifiers = on', current_database()); END $$",
        &[],
    ),
];

/// The exit status of `migrate --verify` and the differences that it reports.
async fn differences(database: &TestDatabase) -> (Option<i32>, Vec<String>) {
    let output = run("migrate", &["--verify"], &database.environment).await;
    let mut lines: Vec<String> = output.text.lines().map(str::to_owned).collect();
    let last = lines.pop().expect("a line");
    if output.status == Some(0) {
        assert!(last.contains("is as this build expects it"), "{last}");
    } else {
        assert!(
            last.starts_with("error: the schema is not as this build expects it"),
            "{last}"
        );
    }
    (output.status, lines)
}

#[tokio::test]
async fn a_schema_that_is_behind_is_reported() {
    let database = TestDatabase::migrated().await;
    let forget = "DELETE FROM refinery_schema_history WHERE version > 1";
    database.owner.batch_execute(forget).await;
    let line = format!(
        "schema version: found 1; expected {} or later (run the migrations)",
        newest_migration()
    );
    assert_eq!(differences(&database).await, (Some(1), vec![line]));
    database.drop().await;
}

#[tokio::test]
async fn every_kind_of_drift_is_reported() {
    let template = TestDatabase::migrated().await.into_template();
    for (change, lines) in DRIFTS {
        let database = TestDatabase::from_template(&template).await;
        database.owner.batch_execute(change).await;
        let status = i32::from(!lines.is_empty());
        let (found_status, found) = differences(&database).await;
        assert_eq!(found, lines, "{change}");
        assert_eq!(found_status, Some(status), "{change}");
        database.drop().await;
    }
    drop_template(&template).await;
}

#[tokio::test]
async fn a_changed_view_and_a_changed_function_are_reported() {
    for (change, line) in [
        (
            "DROP VIEW active_session",
            "view active_session: missing; expected SELECT id, user_id, token_jti",
        ),
        (
            "DROP VIEW active_session; CREATE VIEW active_session AS SELECT id, user_id, token_jti FROM session",
            "view active_session, column kind: missing; expected text",
        ),
        (
            "DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW active_session AS '
                                  || regexp_replace(pg_get_viewdef('active_session'), 'WHERE.*', ''); END $$",
            "view active_session: found SELECT id, user_id, token_jti",
        ),
        (
            "ALTER FUNCTION consume_attempt(bytea[], integer[], integer[], interval) RESET search_path",
            "function consume_attempt(bytea[], integer[], integer[], interval): found RETURNS record LANGUAGE plpgsql SET plan_cache_mode=force_generic_plan AS",
        ),
        (
            "DROP FUNCTION consume_registration_attempt",
            "function consume_registration_attempt(bytea, integer): missing; expected RETURNS integer",
        ),
    ] {
        let database = TestDatabase::migrated().await;
        database.owner.batch_execute(change).await;
        let (status, found) = differences(&database).await;
        assert!(
            found.iter().any(|found| found.starts_with(line)),
            "{change}: {found:?}"
        );
        assert_eq!(status, Some(1), "{change}");
        database.drop().await;
    }
}

#[tokio::test]
async fn the_catalog_is_that_of_a_fresh_database() {
    let database = TestDatabase::migrated().await;
    let output = run("migrate", &["--print-catalog"], &database.environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert_eq!(
        output.text,
        tests::read("sql/catalog.txt"),
        "run ./dev catalog, and review what it changes in sql/catalog.txt"
    );
    database.drop().await;
}

#[tokio::test]
async fn all_drift_is_reported_at_once() {
    let database = TestDatabase::migrated().await;
    let drifts = [1, 6, 8, 13, 16, 19, 21, 25].map(|number| DRIFTS[number]);
    let mut expected = Vec::new();
    for (change, lines) in drifts {
        database.owner.batch_execute(change).await;
        expected.extend_from_slice(lines);
    }
    let (status, mut found) = differences(&database).await;
    found.sort();
    expected.sort_unstable();
    assert_eq!((status, found.len()), (Some(1), drifts.len()), "{found:?}");
    assert_eq!(found, expected);

    // The migrations report the differences too.
    let output = run("migrate", &[], &database.environment).await;
    assert_eq!(output.status, Some(1), "{}", output.text);
    for line in expected {
        assert!(
            output.text.contains(line),
            "{line} is not in: {}",
            output.text
        );
    }
    database.drop().await;
}

#[tokio::test]
async fn an_empty_database_is_missing_all_tables() {
    let database = TestDatabase::empty().await;
    let (status, found) = differences(&database).await;
    assert_eq!(status, Some(1));
    for line in [
        "table user: missing",
        "table task: missing",
        "table session: missing",
        "table attempt: missing",
    ] {
        assert!(found.iter().any(|found| found == line), "{found:?}");
    }
    let tables =
        "SELECT count(*) AS tables FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(
        database.owner.query_one(tables, &[]).await,
        serde_json::json!({"tables": 0})
    );
    database.drop().await;
}
