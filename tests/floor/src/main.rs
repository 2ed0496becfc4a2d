//! The least that a function over these crates can do: it connects while the runtime fetches the first event, and
//! answers each from one statement, which is the one that the function itself sends. A token is read and believed: no
//! signature, no validation, no pool, no deadline, no log. What a function takes beyond this, is ours.
//!
//! It answers `GET /api/{user_id}/tasks`, `GET /api/{user_id}/tasks/{id}` and `PATCH /api/{user_id}/tasks/{id}/complete`
//! over a good `DATABASE_URL`. Without a token it looks for a task and for no session, so that it shows what sessions
//! take.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::civil::DateTime;
use lambda_http::{Error, Request, RequestExt as _, Response, service_fn};
use native_tls::TlsConnector;
use postgres_native_tls::MakeTlsConnector;
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::OnceCell;
use tokio_postgres::types::{ToSql, Type};
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

macro_rules! columns {
    () => {
        " task.id, task.user_id, task.title, task.description, task.due_date, task.priority::text, task.tags,
          task.recursion_pattern, task.completed, task.created_at, task.updated_at "
    };
}

macro_rules! lives {
    () => {
        " session.token_jti = $1
          AND session.user_id = $2
          AND NOT session.revoked
          AND session.expires_at > now() AT TIME ZONE 'utc' "
    };
}

const LIST: &str = concat!(
    "SELECT",
    columns!(),
    "FROM session LEFT JOIN task ON task.user_id = session.user_id
     WHERE",
    lives!(),
    "ORDER BY task.id"
);

const GET: &str = concat!(
    "SELECT",
    columns!(),
    "FROM session LEFT JOIN task ON task.user_id = session.user_id AND task.id = $3
     WHERE",
    lives!(),
);

const TOGGLE: &str = concat!(
    "WITH caller AS (SELECT session.user_id FROM session WHERE",
    lives!(),
    "), toggled AS (
        UPDATE task
        SET completed = NOT task.completed
        FROM caller
        WHERE task.user_id = caller.user_id AND task.id = $3
        RETURNING task.*
    )
    SELECT",
    columns!(),
    "FROM caller LEFT JOIN toggled AS task ON true"
);

const GET_WITHOUT_SESSION: &str = concat!("SELECT", columns!(), "FROM task WHERE task.id = $1");

/// What is read of a token.
#[derive(Deserialize)]
struct Claims {
    jti: String,
}

fn session(token: &str) -> Result<String, Error> {
    let claims = token.split('.').nth(1).ok_or("not a token")?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    Ok(claims.jti)
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
    let number = |name| path.first(name).map(str::parse::<i64>).transpose();
    let id = number("id")?;
    let user_id: i32 = number("user_id")?.unwrap_or_default().try_into()?;
    let client = client().await?;
    let body = if let Some(header) = request.headers().get("authorization") {
        let session = session(header.to_str()?)?;
        let (statement, parameters) = match &id {
            Some(id) => {
                let is_get = *request.method() == "GET";
                (
                    if is_get { GET } else { TOGGLE },
                    Some((id as _, Type::INT8)),
                )
            }
            None => (LIST, None),
        };
        let caller: [(&(dyn ToSql + Sync), Type); 2] =
            [(&session, Type::TEXT), (&user_id, Type::INT4)];
        let parameters: Vec<_> = caller.into_iter().chain(parameters).collect();
        let rows = client.query_typed(statement, &parameters).await?;
        if id.is_some() {
            serde_json::to_string(&rows.first().map(Task::from_row))?
        } else {
            serde_json::to_string(&rows.iter().map(Task::from_row).collect::<Vec<_>>())?
        }
    } else {
        let id: i32 = id.unwrap_or_default().try_into()?;
        let rows = client
            .query_typed(GET_WITHOUT_SESSION, &[(&id, Type::INT4)])
            .await?;
        serde_json::to_string(&rows.first().map(Task::from_row))?
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
