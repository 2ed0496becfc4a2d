//! The least that a function over these crates can do: it connects while the runtime fetches the first event, and
//! answers each from one statement. No validation, no credentials, no pool, no deadline, no log. What a function takes
//! beyond this, is ours.
//!
//! It answers `GET /api/{user_id}/tasks` and `GET /api/{user_id}/tasks/{id}` over a good `DATABASE_URL`.

use jiff::civil::DateTime;
use lambda_http::{Error, Request, RequestExt as _, Response, service_fn};
use native_tls::TlsConnector;
use postgres_native_tls::MakeTlsConnector;
use serde::{Serialize, Serializer};
use tokio::sync::OnceCell;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

/// A task, as get-task and list-tasks answer it.
#[derive(Serialize)]
struct Task<'a> {
    id: i32,
    user_id: i32,
    title: &'a str,
    description: Option<&'a str>,
    due_date: Option<&'a str>,
    priority: &'a str,
    tags: Option<&'a str>,
    recursion_pattern: Option<&'a str>,
    completed: bool,
    #[serde(serialize_with = "display")]
    created_at: DateTime,
    #[serde(serialize_with = "display")]
    updated_at: DateTime,
}

fn display<S: Serializer>(time: &DateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

impl<'a> Task<'a> {
    fn from_row(row: &'a Row) -> Self {
        Self {
            id: row.get(0),
            user_id: row.get(1),
            title: row.get(2),
            description: row.get(3),
            due_date: row.get(4),
            priority: row.get(5),
            tags: row.get(6),
            recursion_pattern: row.get(7),
            completed: row.get(8),
            created_at: row.get(9),
            updated_at: row.get(10),
        }
    }
}

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, user_id, title, description, due_date, priority::text, tags, recursion_pattern, completed,
                    created_at, updated_at FROM task WHERE ",
            $condition
        )
    };
}

static CLIENT: OnceCell<Client> = OnceCell::const_new();

async fn client() -> Result<&'static Client, Error> {
    CLIENT.get_or_try_init(connect).await
}

async fn connect() -> Result<Client, Error> {
    let tls = MakeTlsConnector::new(TlsConnector::new()?);
    let (client, connection) =
        tokio_postgres::connect(&std::env::var("DATABASE_URL")?, tls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn answer(request: Request) -> Result<Response<String>, Error> {
    let path = request.path_parameters();
    let client = client().await?;
    let body = if let Some(id) = path.first("id") {
        let id: i32 = id.parse()?;
        let rows = client
            .query_typed(select!("id = $1"), &[(&id, Type::INT4)])
            .await?;
        let task = rows.first().map(Task::from_row);
        serde_json::to_string(&task)?
    } else {
        let user_id: i32 = path.first("user_id").unwrap_or_default().parse()?;
        let select = select!("user_id = $1 ORDER BY id");
        let rows = client
            .query_typed(select, &[(&user_id, Type::INT4)])
            .await?;
        let tasks: Vec<_> = rows.iter().map(Task::from_row).collect();
        serde_json::to_string(&tasks)?
    };
    Ok(Response::builder()
        .header("content-type", "application/json")
        .body(body)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tokio::spawn(client());
    lambda_http::run(service_fn(answer)).await
}
