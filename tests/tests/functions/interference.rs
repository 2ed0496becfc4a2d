//! What people do to a database, what `migrate --verify` says about it, and whether the functions still do their work.

use serde_json::{Value, json};
use tests::api::{PASSWORD, registration};
use tests::database::{TestDatabase, drop_template};
use tests::function::{Environment, Function, HttpEvent, run};
use tests::routes::TASKS;
use tests::unique;

const ROLE: &str = "todo_app";

/// Changes that keep a function from its work, or could do so, each with the beginning of a line that names it.
const HARMFUL: [(&str, &str); 48] = [
    // Columns, defaults and keys.
    (
        "ALTER TABLE task ADD COLUMN project integer NOT NULL",
        "table task, column project: found NOT NULL without a default",
    ),
    (
        "ALTER TABLE \"user\" ADD COLUMN tenant uuid NOT NULL",
        "table user, column tenant: found NOT NULL without a default",
    ),
    (
        "ALTER TABLE session ADD COLUMN device text NOT NULL",
        "table session, column device: found NOT NULL without a default",
    ),
    (
        "ALTER TABLE attempt ADD COLUMN country text NOT NULL",
        "table attempt, column country: found NOT NULL without a default",
    ),
    (
        "CREATE DOMAIN colour AS text NOT NULL; ALTER TABLE task ADD COLUMN colour colour",
        "table task, column colour: found NOT NULL without a default",
    ),
    (
        "ALTER TABLE task ADD CHECK (length(title) < 10)",
        "table task, check task_title_check: found CHECK (length(title::text) < 10)",
    ),
    (
        "ALTER TABLE \"user\" ADD CONSTRAINT company CHECK (email LIKE '%@company.test') NOT VALID",
        "table user, check company: found CHECK",
    ),
    (
        "ALTER TABLE task ADD UNIQUE (user_id, title)",
        "table task, unique index task_user_id_title_key: found btree (user_id, title)",
    ),
    (
        "CREATE UNIQUE INDEX one_open ON task (user_id) WHERE NOT completed",
        "table task, unique index one_open: found btree (user_id) WHERE NOT completed",
    ),
    (
        "CREATE TABLE colour (name text PRIMARY KEY); ALTER TABLE task ADD FOREIGN KEY (tags) REFERENCES colour",
        "table task, foreign key task_tags_fkey: found FOREIGN KEY (tags) REFERENCES colour(name)",
    ),
    (
        "CREATE TABLE comment (task_id integer REFERENCES task)",
        "table comment, foreign key comment_task_id_fkey: found FOREIGN KEY (task_id) REFERENCES task(id)",
    ),
    (
        "CREATE TABLE profile (user_id integer NOT NULL REFERENCES \"user\" ON DELETE SET NULL)",
        "table profile, foreign key profile_user_id_fkey: found FOREIGN KEY (user_id) REFERENCES \"user\"(id) ON DELETE SET NULL",
    ),
    (
        "CREATE TABLE profile (user_id integer NOT NULL REFERENCES \"user\" ON DELETE SET DEFAULT)",
        "table profile, foreign key profile_user_id_fkey: found FOREIGN KEY (user_id) REFERENCES \"user\"(id) ON DELETE SET DEFAULT",
    ),
    (
        "CREATE TABLE invoice (id integer PRIMARY KEY, user_id integer REFERENCES \"user\");",
        "table invoice, foreign key invoice_user_id_fkey: found FOREIGN KEY (user_id) REFERENCES \"user\"(id); expected ON DELETE CASCADE, or",
    ),
    (
        "CREATE TABLE note (id integer PRIMARY KEY, task_id integer REFERENCES task ON DELETE CASCADE);
         CREATE TABLE reply (note_id integer REFERENCES note)",
        "table reply, foreign key reply_note_id_fkey: found FOREIGN KEY (note_id) REFERENCES note(id)",
    ),
    (
        "ALTER TABLE task ADD COLUMN kind text DEFAULT 'a' UNIQUE",
        "statements of the functions, as the role todo_app: create a task",
    ),
    (
        "ALTER TABLE task ALTER completed SET DEFAULT true",
        "table task, column completed: found boolean NOT NULL DEFAULT true",
    ),
    (
        "ALTER TABLE session ALTER revoked SET DEFAULT true",
        "table session, column revoked: found boolean NOT NULL DEFAULT true",
    ),
    (
        "ALTER TABLE session SET UNLOGGED",
        "table session, persistence: found UNLOGGED",
    ),
    (
        "CREATE TABLE archive () INHERITS (task)",
        "table task, child table archive: found",
    ),
    (
        "ALTER TABLE task ADD COLUMN number integer, ADD UNIQUE NULLS NOT DISTINCT (number)",
        "table task, unique index task_number_key: found btree (number)",
    ),
    (
        "ALTER TABLE \"user\" ADD COLUMN kind text DEFAULT 'a' UNIQUE",
        "statements of the functions, as the role todo_app: register",
    ),
    (
        "ALTER TABLE session ADD COLUMN n integer DEFAULT 1, ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED",
        "statements of the functions, as the role todo_app: ",
    ),
    // Sequences.
    (
        "INSERT INTO \"user\" (id, username, email, hashed_password) VALUES (100, 'a', 'a@example.com', '!')",
        "table user, sequence user_id_seq: found ",
    ),
    (
        "ALTER SEQUENCE user_id_seq RESTART;
         INSERT INTO \"user\" (username, email, hashed_password) VALUES ('a', 'a@example.com', '!');
         INSERT INTO session (id, user_id, token_jti, token, expires_at) VALUES (1, 1, 'a', 'a', now()), (2, 1, 'b', 'b', now());
         ALTER SEQUENCE session_id_seq RESTART",
        "table session, sequence session_id_seq: found 1 as the next value; expected one above 2",
    ),
    (
        "SELECT setval('task_id_seq', 2147483647)",
        "statements of the functions, as the role todo_app: create a task",
    ),
    (
        "ALTER SEQUENCE user_id_seq OWNED BY NONE",
        "table user, column id: found integer NOT NULL DEFAULT nextval",
    ),
    // Row level security.
    (
        "ALTER TABLE task ENABLE ROW LEVEL SECURITY",
        "table task, row level security: found without a policy for the role todo_app",
    ),
    (
        "ALTER TABLE \"user\" ENABLE ROW LEVEL SECURITY",
        "table user, row level security: found without a policy for the role todo_app",
    ),
    (
        "ALTER TABLE session ENABLE ROW LEVEL SECURITY; CREATE POLICY readable ON session FOR SELECT USING (true)",
        "table session, row level security: found with policies that restrict the role todo_app: readable",
    ),
    (
        "ALTER TABLE attempt ENABLE ROW LEVEL SECURITY; CREATE POLICY other ON attempt TO CURRENT_USER USING (true)",
        "table attempt, row level security: found without a policy for the role todo_app",
    ),
    (
        "ALTER TABLE task ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON task USING (user_id = 1)",
        "table task, row level security: found with policies that restrict the role todo_app: own",
    ),
    (
        "ALTER TABLE task ENABLE ROW LEVEL SECURITY; CREATE POLICY every ON task USING (true);
         CREATE POLICY no_low ON task AS RESTRICTIVE USING (priority <> 'Low')",
        "table task, row level security: found with policies that restrict the role todo_app: every, no_low",
    ),
    (
        "ALTER TABLE refinery_schema_history ENABLE ROW LEVEL SECURITY",
        "table refinery_schema_history, row level security: found without a policy for the role todo_app",
    ),
    // Rules and triggers.
    (
        "CREATE RULE keep AS ON DELETE TO task DO INSTEAD NOTHING",
        "table task, rule keep: found CREATE RULE keep AS",
    ),
    (
        "CREATE FUNCTION shorten() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.title := left(NEW.title, 5); RETURN NEW; END';
         CREATE TRIGGER shorten BEFORE INSERT ON task FOR EACH ROW EXECUTE FUNCTION shorten()",
        "table task, trigger shorten: found CREATE TRIGGER shorten BEFORE INSERT",
    ),
    (
        "CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER drop_row BEFORE INSERT ON session FOR EACH ROW EXECUTE FUNCTION drop_row()",
        "table session, trigger drop_row: found CREATE TRIGGER drop_row BEFORE INSERT",
    ),
    (
        "CREATE TABLE audit (what text);
         CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES ('x'); RETURN NULL; END $$;
         CREATE TRIGGER audit AFTER UPDATE ON task FOR EACH STATEMENT EXECUTE FUNCTION audit()",
        "table task, trigger audit: found CREATE TRIGGER audit AFTER UPDATE",
    ),
    // Privileges.
    (
        "REVOKE DELETE ON task FROM todo_app",
        "role todo_app: lacks a privilege; expected GRANT DELETE ON TABLE task TO todo_app",
    ),
    (
        "REVOKE SELECT ON active_session FROM todo_app",
        "role todo_app: lacks a privilege; expected GRANT SELECT ON TABLE active_session TO todo_app",
    ),
    (
        "REVOKE USAGE ON SEQUENCE session_id_seq FROM todo_app",
        "role todo_app: lacks a privilege; expected GRANT USAGE ON SEQUENCE session_id_seq TO todo_app",
    ),
    (
        "REVOKE EXECUTE ON FUNCTION consume_attempt FROM PUBLIC",
        "role todo_app: lacks a privilege; expected GRANT EXECUTE ON FUNCTION consume_attempt",
    ),
    (
        "REVOKE SELECT ON refinery_schema_history FROM todo_app",
        "role todo_app: lacks a privilege; expected GRANT SELECT ON TABLE refinery_schema_history TO todo_app",
    ),
    // Settings.
    (
        "ALTER DATABASE \"{database}\" SET default_transaction_read_only = on",
        "role todo_app, setting default_transaction_read_only: found on",
    ),
    (
        "ALTER ROLE todo_app IN DATABASE \"{database}\" SET default_transaction_read_only = true",
        "role todo_app, setting default_transaction_read_only: found true",
    ),
    (
        "ALTER ROLE todo_app IN DATABASE \"{database}\" SET role = 'pg_monitor'",
        "role todo_app, setting role: found pg_monitor",
    ),
    // Functions.
    (
        "ALTER FUNCTION consume_login_attempt STRICT",
        "function consume_login_attempt(",
    ),
    (
        "DROP FUNCTION refund_login_attempt",
        "function refund_login_attempt(",
    ),
];

/// Changes that leave the functions working.
const HARMLESS: [&str; 13] = [
    "ALTER TABLE task ADD COLUMN project integer, ADD COLUMN colour text NOT NULL DEFAULT 'red', ADD CHECK (project > 0)",
    "ALTER TABLE task ADD COLUMN public_id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE",
    "ALTER TABLE task ADD COLUMN number integer GENERATED ALWAYS AS IDENTITY, ADD UNIQUE (user_id, id)",
    "ALTER TABLE \"user\" ADD COLUMN domain text GENERATED ALWAYS AS (split_part(email, '@', 2)) STORED",
    "CREATE TABLE comment (task_id integer REFERENCES task ON DELETE CASCADE)",
    "CREATE TABLE note (id integer PRIMARY KEY, task_id integer REFERENCES task ON DELETE SET NULL);
     CREATE TABLE reply (note_id integer REFERENCES note, user_id integer NOT NULL DEFAULT 1 REFERENCES \"user\" ON DELETE SET DEFAULT)",
    "CREATE UNIQUE INDEX by_lower_email ON \"user\" (lower(email))",
    "ALTER TABLE task ENABLE ROW LEVEL SECURITY; CREATE POLICY every ON task USING (true)",
    "ALTER TABLE task ENABLE ROW LEVEL SECURITY; CREATE POLICY functions ON task TO todo_app USING (true) WITH CHECK (true);
     CREATE POLICY others ON task TO pg_monitor USING (false)",
    "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
     CREATE TRIGGER nothing BEFORE INSERT ON task FOR EACH ROW EXECUTE FUNCTION nothing();
     ALTER TABLE task DISABLE TRIGGER nothing",
    "ALTER ROLE todo_app IN DATABASE \"{database}\" SET search_path = ''",
    "ALTER ROLE todo_app IN DATABASE \"{database}\" SET statement_timeout = '20s';
     ALTER DATABASE \"{database}\" SET IntervalStyle = 'iso_8601'",
    "SELECT setval('task_id_seq', 1000000); SELECT setval('user_id_seq', 1000000)",
];

async fn changed(template: &str, change: &str) -> TestDatabase {
    let database = TestDatabase::from_template(template).await;
    let change = change.replace("{database}", database.name());
    database.owner.batch_execute(&change).await;
    database
}

async fn verify(environment: &Environment) -> (Option<i32>, String) {
    let output = run("migrate", &["--verify"], environment).await;
    (output.status, output.text)
}

#[tokio::test]
async fn harmful_changes_are_named() {
    let template = TestDatabase::migrated().await.into_template();
    for (change, line) in HARMFUL {
        let database = changed(&template, change).await;
        let (status, text) = verify(&database.environment).await;
        assert!(
            text.lines().any(|found| found.starts_with(line)),
            "{change}: {text}"
        );
        assert_eq!(status, Some(1), "{change}: {text}");
        database.drop().await;
    }
    drop_template(&template).await;
}

/// Sends a request to a function. Returns the body, or what differs from the expected status.
async fn send(
    environment: &Environment,
    function: &str,
    request: HttpEvent,
    status: u64,
) -> Result<Value, String> {
    let function_name = function;
    let function = Function::start(function, environment).await;
    let response = function.http(&request).await;
    if response.status == status {
        Ok(response.body)
    } else {
        Err(format!("{function_name}: {}", response.status))
    }
}

/// Does everything that a user can do. Returns what does not work.
async fn use_every_route(environment: &Environment) -> Result<(), String> {
    let user = registration();
    let send = async |function, request, status| send(environment, function, request, status).await;
    let post = |path, body: Value| HttpEvent::new("POST", path, &[]).json(&body);
    let credentials = |password| json!({"email": user["email"], "password": password});
    let token = |body: &Value| body["access_token"].as_str().unwrap_or_default().to_owned();

    send("register", post("/api/auth/register", user.clone()), 201).await?;
    let body = send("login", post("/api/auth/login", credentials(PASSWORD)), 200).await?;
    let (user_id, bearer) = (body["user_id"].as_str().unwrap_or_default(), token(&body));
    let request = |method: &str, path: &str| HttpEvent::new(method, path, &[]).bearer(&bearer);
    send("me", request("GET", "/api/auth/me"), 200).await?;

    let fields = json!({"title": "a long enough title", "tags": "blue", "priority": "Low"});
    let tasks = HttpEvent::new("POST", TASKS, &[user_id]).bearer(&bearer);
    let task = send("create-task", tasks.json(&fields), 201).await?;
    let id = task["id"].to_string();
    let task_event =
        |method: &str, path: &str| HttpEvent::new(method, path, &[user_id, &id]).bearer(&bearer);
    let path = format!("{TASKS}/{{id}}");
    let list = HttpEvent::new("GET", TASKS, &[user_id]).bearer(&bearer);
    if send("list-tasks", list, 200).await? != json!([task]) || task["title"] != fields["title"] {
        return Err("list-tasks: another task".to_owned());
    }
    send("get-task", task_event("GET", &path), 200).await?;
    let change = task_event("PUT", &path).json(&json!({"title": "another long title"}));
    send("update-task", change, 200).await?;
    let complete = task_event("PATCH", &format!("{path}/complete"));
    let completed = send("complete-task", complete, 200).await?;
    if completed["completed"] != json!(true) {
        return Err("complete-task: not completed".to_owned());
    }
    send("delete-task", task_event("DELETE", &path), 200).await?;
    send("get-task", task_event("GET", &path), 404).await?;

    let change = json!({"current_password": PASSWORD, "new_password": "another password"});
    send(
        "change-password",
        request("POST", "/api/auth/password").json(&change),
        200,
    )
    .await?;
    send("logout", request("POST", "/api/auth/logout"), 200).await?;
    let login = post("/api/auth/login", credentials("another password"));
    let body = send("login", login, 200).await?;
    let delete = HttpEvent::new("DELETE", "/api/auth/me", &[]).bearer(&token(&body));
    send(
        "delete-account",
        delete.json(&json!({"password": "another password"})),
        200,
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn harmless_changes_are_not_reported_and_every_route_works() {
    let template = TestDatabase::migrated().await.into_template();
    for change in HARMLESS {
        let database = changed(&template, change).await;
        let (status, text) = verify(&database.environment).await;
        assert_eq!(status, Some(0), "{change}: {text}");
        assert_eq!(
            use_every_route(&database.environment).await,
            Ok(()),
            "{change}"
        );
        database.drop().await;
    }
    drop_template(&template).await;
}

#[tokio::test]
async fn what_breaks_a_route_is_reported() {
    // A selection of the changes above, to see that they do harm, and changes that no catalog names.
    let invisible = [
        "CREATE FUNCTION one() RETURNS integer LANGUAGE sql RETURN 1; ALTER TABLE task ADD COLUMN n integer DEFAULT one();
         REVOKE EXECUTE ON FUNCTION one() FROM PUBLIC",
        "ALTER TABLE task ADD COLUMN n integer NOT NULL DEFAULT NULL",
        "ALTER TABLE task ADD COLUMN n integer DEFAULT 0, ADD CHECK (n > 0) NOT VALID",
        "ALTER TABLE session ADD COLUMN n integer DEFAULT 1, ADD UNIQUE (n)",
        "ALTER SEQUENCE task_id_seq AS bigint MAXVALUE 9000000000; SELECT setval('task_id_seq', 3000000000)",
        "ALTER TABLE task REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE task",
        "ALTER ROLE todo_app IN DATABASE \"{database}\" SET statement_timeout = '1ms'",
        "ALTER DATABASE \"{database}\" SET default_transaction_read_only = on",
    ];
    let template = TestDatabase::migrated().await.into_template();
    let named = HARMFUL.iter().map(|(change, _)| *change).step_by(6);
    let mut broken = 0;
    for change in named.chain(invisible) {
        let database = changed(&template, change).await;
        let (status, text) = verify(&database.environment).await;
        let used = use_every_route(&database.environment).await;
        assert!(
            used.is_ok() || status == Some(1),
            "{change}: {used:?} {text}"
        );
        broken += usize::from(used.is_err());
        database.drop().await;
    }
    drop_template(&template).await;
    assert!(broken >= 10, "{broken} changes broke a route");
}

/// The rows of all tables, and the memberships of roles.
async fn contents(database: &TestDatabase) -> Value {
    let query = "SELECT (SELECT count(*) FROM \"user\") AS users, (SELECT count(*) FROM task) AS tasks,
                        (SELECT count(*) FROM session) AS sessions, (SELECT count(*) FROM attempt) AS attempts,
                        (SELECT count(*) FROM pg_auth_members
                         WHERE roleid = to_regrole($1) AND pg_get_userbyid(member) = current_user) AS members";
    database.owner.query_one(query, &[&ROLE]).await
}

#[tokio::test]
async fn a_verification_leaves_nothing_behind() {
    let database = TestDatabase::migrated().await;
    tests::fixtures::register(&database.environment).await;
    let before = contents(&database).await;
    for arguments in [&["--verify"][..], &[]] {
        let output = run("migrate", arguments, &database.environment).await;
        assert_eq!(output.status, Some(0), "{}", output.text);
        assert_eq!(contents(&database).await, before);
    }
    database.drop().await;
}

#[tokio::test]
async fn the_functions_role_can_verify_the_database_itself() {
    let database = TestDatabase::migrated().await;
    let environment = database.environment.clone();
    let environment = environment
        .without("DATABASE_URL_UNPOOLED")
        .without("APPLICATION_ROLE");
    let (status, text) = verify(&environment).await;
    assert_eq!(status, Some(0), "{text}");
    database
        .owner
        .batch_execute("REVOKE DELETE ON task FROM todo_app")
        .await;
    let (status, text) = verify(&environment).await;
    assert!(
        text.starts_with("role todo_app: lacks a privilege; expected GRANT DELETE ON TABLE task"),
        "{text}"
    );
    assert_eq!(status, Some(1), "{text}");
    database.drop().await;
}

#[tokio::test]
async fn a_role_that_cannot_log_in_is_reported() {
    let database = TestDatabase::empty().await;
    let role = format!("role_{}", unique());
    let environment = database
        .environment
        .clone()
        .with("APPLICATION_ROLE", role.as_str());
    let (status, text) = verify(&environment).await;
    assert_eq!(status, Some(1), "{text}");
    let output = run("migrate", &[], &environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    let (status, text) = verify(&environment).await;
    assert_eq!(status, Some(0), "{text}");
    for (change, found) in [
        ("NOLOGIN", "found NOLOGIN; expected LOGIN"),
        (
            "LOGIN VALID UNTIL '2020-01-01'",
            "found VALID UNTIL '2020-01-01",
        ),
        (
            "VALID UNTIL 'infinity' CONNECTION LIMIT 0",
            "found CONNECTION LIMIT 0",
        ),
    ] {
        let alter = format!("ALTER ROLE {role} {change}");
        database.owner.batch_execute(&alter).await;
        let (status, text) = verify(&environment).await;
        assert!(
            text.starts_with(&format!("role {role}: {found}")),
            "{change}: {text}"
        );
        assert_eq!(status, Some(1), "{change}");
    }
    database
        .owner
        .batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
    let (_, text) = verify(&environment).await;
    assert!(text.starts_with(&format!("role {role}: missing")), "{text}");
    database.drop().await;
}

#[tokio::test]
async fn an_encoding_that_cannot_hold_every_text_is_reported() {
    let database = TestDatabase::with_encoding("LATIN1").await;
    let output = run("migrate", &[], &database.environment).await;
    assert_eq!(output.status, Some(1), "{}", output.text);
    assert!(
        output
            .text
            .contains("database encoding: found LATIN1; expected UTF8"),
        "{}",
        output.text
    );
    database.drop().await;
}

#[tokio::test]
async fn an_owner_that_may_not_work_as_the_role_is_reported() {
    let database = TestDatabase::empty().await;
    let owner = format!("owner_{}", unique());
    let name = database.name();
    let statements = format!(
        "CREATE ROLE {owner} LOGIN PASSWORD 'of-an-owner'; GRANT {owner} TO CURRENT_USER; ALTER DATABASE {name} OWNER TO {owner}"
    );
    database.owner.batch_execute(&statements).await;
    let url = database.environment.value("DATABASE_URL_UNPOOLED");
    let (_, location) = url.split_once('@').expect("credentials");
    let environment = database.environment.clone().with(
        "DATABASE_URL_UNPOOLED",
        format!("postgresql://{owner}:of-an-owner@{location}"),
    );
    let expected = format!(
        "expected that {owner} may work as todo_app (as a role that may grant that: GRANT todo_app TO {owner})"
    );
    // The deployment goes on; the operator who asks is told.
    let output = run("migrate", &[], &environment).await;
    assert!(output.text.contains(&expected), "{}", output.text);
    assert_eq!(output.status, Some(0), "{}", output.text);
    let (status, text) = verify(&environment).await;
    assert!(
        text.starts_with("statements of the functions: not run") && text.contains(&expected),
        "{text}"
    );
    assert_eq!(status, Some(1), "{text}");
    let grant = format!("GRANT todo_app TO {owner}");
    database.owner.batch_execute(&grant).await;
    let (status, text) = verify(&environment).await;
    assert_eq!(status, Some(0), "{text}");

    let server = database.connect().await;
    let statements = format!(
        "REVOKE todo_app FROM {owner}; ALTER DATABASE {name} OWNER TO CURRENT_USER; DROP OWNED BY {owner}; DROP ROLE {owner}"
    );
    server.batch_execute(&statements).await;
    database.drop().await;
}
