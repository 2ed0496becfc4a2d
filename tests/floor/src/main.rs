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
use lambda_http::http::HeaderValue;
use lambda_http::{Error, Request, RequestExt as _, Response, service_fn};
use native_tls::TlsConnector;
use postgres_native_tls::MakeTlsConnector;
use serde::{Deserialize, Serialize, Serializer};
use shared::tasks;
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

const GET_WITHOUT_SESSION: &str =
    "SELECT id, user_id, title, description, due_date, priority::text, tags, recursion_pattern, completed, created_at,
            updated_at FROM task WHERE id = $1";

/// What is read of a token.
#[derive(Deserialize)]
struct Claims {
    jti: String,
}

fn session(header: &HeaderValue) -> Result<String, Error> {
    let claims = header.to_str()?.split('.').nth(1).ok_or("not a token")?;
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
    let user_id: i32 = path.first("user_id").unwrap_or_default().parse()?;
    let id: Option<i64> = path.first("id").map(str::parse).transpose()?;
    let header = request.headers().get("authorization");
    let session = header.map(session).transpose()?;

    let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = Vec::new();
    if let Some(session) = &session {
        parameters.extend([(session as _, Type::TEXT), (&user_id as _, Type::INT4)]);
    }
    if let Some(id) = &id {
        parameters.push((id, Type::INT8));
    }
    let statement = match (&session, &id) {
        (None, _) => GET_WITHOUT_SESSION,
        (_, None) => tasks::LIST.sql(),
        _ if *request.method() == "GET" => tasks::GET.sql(),
        _ => tasks::TOGGLE.sql(),
    };
    let rows = client().await?.query_typed(statement, &parameters).await?;
    let body = if id.is_some() {
        serde_json::to_string(&rows.first().map(Task::from_row))?
    } else {
        serde_json::to_string(&rows.iter().map(Task::from_row).collect::<Vec<_>>())?
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
