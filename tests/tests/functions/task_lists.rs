//! The list of tasks in databases of different collations, among the tasks of others, and at the size limits.

use serde_json::{Value, json};
use tests::database::{Database, TestDatabase};
use tests::fixtures::{Fixtures, RouteCase};
use tests::function::{Function, HttpEvent, HttpResponse};
use tests::routes::{TASKS, route};

/// A user, and the function that lists the user's tasks.
struct Lists {
    user: RouteCase,
    function: Function,
}

impl Lists {
    async fn new(database: &TestDatabase) -> Self {
        let fixtures = Fixtures::in_environment(&database.environment).await;
        Self {
            user: fixtures.route_case(route("list-tasks")).await,
            function: Function::start("list-tasks", &database.environment).await,
        }
    }

    async fn get(&self, query: &str) -> HttpResponse {
        let request = HttpEvent::new("GET", TASKS, &[&self.user.user_id]).bearer(&self.user.token);
        self.function.http(&request.query(query)).await
    }

    async fn titles(&self, query: &str) -> Vec<String> {
        let response = self.get(query).await;
        assert_eq!(response.status, 200, "{query}: {response:?}");
        let tasks = response.body.as_array().expect("a list").iter();
        tasks
            .map(|task| task["title"].as_str().expect("a text").to_owned())
            .collect()
    }

    async fn set_titles(&self, database: &Database, titles: &[&str]) {
        let user_id = self.user.user_id_number();
        database
            .execute("DELETE FROM public.task WHERE user_id = $1", &[&user_id])
            .await;
        let insert = "INSERT INTO public.task (user_id, title, tags)
                      SELECT $1, title, title FROM unnest($2::text[]) WITH ORDINALITY AS new (title, number) ORDER BY number";
        database.execute(insert, &[&user_id, &titles]).await;
    }
}

/// The databases with each kind of collation that the server has.
async fn databases_of_all_collations() -> Vec<TestDatabase> {
    let server = Database::from_env().await;
    let version = server
        .query_one(
            "SELECT current_setting('server_version_num')::integer AS number",
            &[],
        )
        .await;
    let mut locales = vec!["LOCALE 'C'", "LOCALE 'C.UTF-8'"];
    let icu = server
        .query("SELECT FROM pg_collation WHERE collname = 'und-x-icu'", &[])
        .await;
    if !icu.is_empty() {
        locales.push("LOCALE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'und'");
        locales.push("LOCALE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'tr'");
    }
    if version["number"].as_i64() >= Some(170_000) {
        locales.push("LOCALE 'C' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'");
    }
    let mut databases = Vec::new();
    for locale in locales {
        let database = TestDatabase::with_locale(&format!("ENCODING 'UTF8' {locale}")).await;
        database.migrate().await;
        databases.push(database);
    }
    databases
}

#[tokio::test]
async fn case_is_ignored_alike_in_databases_of_all_collations() {
    for database in databases_of_all_collations().await {
        let lists = Lists::new(&database).await;
        for (stored, asked) in [
            ("\u{c4}PFEL", "\u{e4}pfel"),
            ("\u{e4}pfel", "A\u{308}PFEL"),
            ("Stra\u{df}e", "STRASSE"),
            ("STRA\u{1e9e}E", "stra\u{df}e"),
            (
                "\u{39f}\u{394}\u{39f}\u{3a3}",
                "\u{3bf}\u{3b4}\u{3bf}\u{3c2}",
            ),
            (
                "\u{413}\u{420}\u{418}\u{411}",
                "\u{433}\u{440}\u{438}\u{431}",
            ),
            ("\u{130}stanbul", "istanbul"),
            ("TITLE", "title"),
            // Their capitals are a letter and its accents.
            ("\u{390}", "\u{399}\u{308}\u{301}"),
            ("\u{3ab}\u{301}", "\u{3b0}"),
            ("\u{1f0}", "J\u{30c}"),
            ("H\u{331}", "\u{1e96}"),
            ("\u{1fd6}", "\u{399}\u{342}"),
            ("\u{10400}", "\u{10428}"),
        ] {
            lists.set_titles(&database.owner, &[stored, "other"]).await;
            for parameter in ["q", "tag"] {
                let query = format!("{parameter}={}", percent_encoded(asked));
                assert_eq!(lists.titles(&query).await, [stored], "{parameter}={asked}");
            }
        }
        lists
            .set_titles(
                &database.owner,
                &["b", "\u{e4}", "B", "a", "\u{c4}", "_", "Z"],
            )
            .await;
        let sorted = ["_", "a", "b", "B", "Z", "\u{e4}", "\u{c4}"];
        assert_eq!(lists.titles("sort=title").await, sorted);
        database.drop().await;
    }
}

/// Every byte of a text in percent-encoding.
fn percent_encoded(text: &str) -> String {
    let bytes: Vec<_> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    bytes.concat()
}

#[tokio::test]
async fn a_list_reads_no_task_of_another_user() {
    let database = TestDatabase::migrated().await;
    let fixtures = Fixtures::in_environment(&database.environment).await;
    let small = fixtures.route_case(route("list-tasks")).await;
    let large = fixtures.route_case(route("list-tasks")).await;
    // The tasks of 400 others lie before, between and after those of the two users.
    let fill = format!(
        r#"ALTER TABLE public.task DISABLE TRIGGER USER;
        INSERT INTO public."user" (username, email, hashed_password)
        SELECT 'other' || number, number || '@example.com', '' FROM generate_series(1, 400) AS number;
        INSERT INTO public.task (user_id, title)
        SELECT CASE WHEN number % 3000 = 0 THEN {} WHEN number % 30 = 1 THEN {}
                    ELSE (SELECT max(id) - number % 400 FROM public."user") END,
               'task ' || number
        FROM generate_series(1, 60000) AS number;
        ALTER TABLE public.task ENABLE TRIGGER USER;
        ANALYZE public.task;"#,
        small.user_id, large.user_id
    );
    database.owner.batch_execute(&fill).await;
    for user in [&small, &large] {
        let user_id = user.user_id_number();
        let own = "SELECT count(*) FROM public.task WHERE user_id = $1";
        let own = database.owner.query_one(own, &[&user_id]).await["count"]
            .as_i64()
            .expect("a number");
        let session = "SELECT token_jti FROM public.session WHERE user_id = $1";
        let session = database.owner.query_one(session, &[&user_id]).await["token_jti"]
            .as_str()
            .expect("a text")
            .to_owned();
        let page = json!({"sort": "id", "descending": false, "max_tasks": 5});
        let reversed = json!({"sort": "id", "descending": true, "max_tasks": 5});
        let with = |query: &Value, name: &str, value: Value| {
            let mut query = query.clone();
            query[name] = value;
            query
        };
        for (query, reads_only_the_page) in [
            (Value::Null, false),
            (json!({"sort": "id", "descending": false}), false),
            (page.clone(), true),
            (reversed.clone(), true),
            (with(&page, "contained", json!("none has this")), false),
            (with(&reversed, "completed", json!(true)), false),
            (with(&page, "sort", json!("title")), false),
            (with(&reversed, "sort", json!("due_date")), false),
        ] {
            // Often enough for a plan that fits all parameters.
            for _ in 0..8 {
                let read = read_tasks(&database.owner, &session, user_id, &query).await;
                // The tasks that are shown are read once more, by their ids. The planner reads the ends of an index.
                let shown = query["max_tasks"].as_i64().map_or(own, |limit| limit + 1);
                let selected = if reads_only_the_page { shown } else { own };
                assert!(
                    read <= selected + shown + 10,
                    "{query}: {read} rows were read, {own} are the user's"
                );
            }
        }
    }
    database.drop().await;
}

/// How many rows of the table of tasks a list reads.
async fn read_tasks(database: &Database, session: &str, user_id: i32, query: &Value) -> i64 {
    let counts = "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) AS read
                  FROM pg_stat_xact_user_tables WHERE relid = 'public.task'::regclass";
    database.batch_execute("BEGIN").await;
    let before = database.query_one(counts, &[]).await["read"]
        .as_i64()
        .expect("a number");
    let list = "SELECT count(*) FROM public.todo_list_tasks($1, $2, '{}', 6000000, $3)";
    let query = (!query.is_null()).then_some(query);
    database
        .query_one(list, &[&session, &user_id, &query])
        .await;
    let after = database.query_one(counts, &[]).await["read"]
        .as_i64()
        .expect("a number");
    database.batch_execute("COMMIT").await;
    after - before
}

#[tokio::test]
async fn a_page_that_would_be_too_large_has_fewer_tasks() {
    let database = TestDatabase::migrated().await;
    let lists = Lists::new(&database).await;
    // Lambda returns 6 MB. A control character takes seven bytes of that.
    let insert = "INSERT INTO public.task (user_id, title, description)
                  SELECT $1, number::text, repeat(CASE WHEN number % 2 = 0 THEN E'\\x01' ELSE 'a' END, 200000)
                  FROM generate_series(1, 40) AS number";
    database.owner.execute("DELETE FROM public.task", &[]).await;
    database
        .owner
        .execute(insert, &[&lists.user.user_id_number()])
        .await;
    for query in ["", "sort=title"] {
        let whole = lists.get(query).await;
        let answer = (whole.status, &whole.body);
        assert_eq!(
            answer,
            (
                413,
                &json!({"detail": "Task list too large, ask for pages with limit"})
            ),
            "{query}"
        );
    }
    let mut seen = Vec::new();
    let mut query = "limit=40".to_owned();
    loop {
        let page = lists.get(&query).await;
        assert_eq!(page.status, 200, "{query}");
        let tasks = page.body.as_array().expect("a list");
        assert!((1..40).contains(&tasks.len()));
        seen.extend(
            tasks
                .iter()
                .map(|task| task["title"].as_str().expect("a text").to_owned()),
        );
        let Some(link) = page.headers["link"].as_str() else {
            break;
        };
        let link = link
            .strip_prefix("<?")
            .and_then(|link| link.strip_suffix(">; rel=\"next\""));
        query = link.expect("a link").to_owned();
    }
    let expected: Vec<_> = (1..=40).map(|number| number.to_string()).collect();
    assert_eq!(seen, expected);
    database.drop().await;
}
