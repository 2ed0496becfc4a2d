//! The minimum that a function over these crates has to do, as a baseline for the benchmark.
//!
//! It connects while the runtime fetches the first event, and answers each event with one statement, the same one that
//! the function sends. It reads the session from the token without checking anything: no signature, no validation, no
//! pool, no timeout, no log. The difference between a function and its baseline is the cost of our own code.
//!
//! It answers `GET /api/{user_id}/tasks`, `GET /api/{user_id}/tasks/{id}` and
//! `PATCH /api/{user_id}/tasks/{id}/complete`, and expects a valid `DATABASE_URL`. Without a token it looks up the task
//! and no session, which shows the cost of the session check.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambda_http::http::HeaderValue;
use lambda_http::{Error, Request, RequestExt as _, Response, service_fn};
use native_tls::TlsConnector;
use postgres_native_tls::MakeTlsConnector;
use serde::Deserialize;
use shared::tasks::{self, Task};
use tokio::sync::OnceCell;
use tokio_postgres::Client;
use tokio_postgres::types::{Json, ToSql, Type};

/// Its columns are in the order that [`Task::from_row`] expects.
const GET_WITHOUT_SESSION: &str =
    "SELECT id, user_id, title, description, due_date, priority::text, tags, recursion_pattern, completed, created_at,
            updated_at FROM public.task WHERE id = $1";

/// The versions that the client has, and those that it expects.
const NO_VERSION: &[&str] = &[];
const ANY_VERSION: &[&str] = &["*"];

/// The claims of a token that are used.
#[derive(Deserialize)]
struct Claims {
    jti: String,
}

fn session_id(header: &HeaderValue) -> Result<String, Error> {
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
    let session = header.map(session_id).transpose()?;

    let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = Vec::new();
    if let Some(session) = &session {
        parameters.extend([(session as _, Type::TEXT), (&user_id as _, Type::INT4)]);
    }
    if let Some(id) = &id {
        parameters.push((id, Type::INT8));
    }
    let statement = match (&session, &id) {
        (None, _) => GET_WITHOUT_SESSION,
        (_, None) => {
            parameters.extend([
                (&NO_VERSION as _, Type::TEXT_ARRAY),
                (&i64::MAX as _, Type::INT8),
                (&None::<Json<()>> as _, Type::JSONB),
            ]);
            tasks::LIST.sql()
        }
        _ if *request.method() == "GET" => tasks::GET.sql(),
        _ => {
            parameters.extend([
                (&ANY_VERSION as _, Type::TEXT_ARRAY),
                (&"toggle" as _, Type::TEXT),
                (&None::<Json<()>> as _, Type::JSONB),
                (&i64::MAX as _, Type::INT8),
            ]);
            tasks::CHANGE.sql()
        }
    };
    let rows = client().await?.query_typed(statement, &parameters).await?;
    let body = if id.is_some() {
        serde_json::to_string(&rows.first().map(Task::from_row))?
    } else {
        // The first row is about the list.
        serde_json::to_string(&rows.iter().skip(1).map(Task::from_row).collect::<Vec<_>>())?
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
