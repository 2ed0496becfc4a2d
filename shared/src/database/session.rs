//! Statements in a session that the caller has opened.

use tokio_postgres::{Client, Row};

use super::connection::read_rows;
use super::error::{Error, Failure};
use super::statement::{Parameters, Statement};

/// Runs a statement once and reads its rows as they arrive. `None` where they are more than `max_bytes`, as the server sends
/// them.
///
/// # Errors
/// [`Error`].
pub(super) async fn run<T: Send>(
    client: &Client,
    statement: &Statement,
    parameters: &Parameters<'_>,
    max_bytes: usize,
    from_row: fn(&Row) -> T,
) -> Result<Option<Vec<T>>, Error> {
    let parameters = parameters
        .iter()
        .map(|(value, kind)| (*value, kind.clone()));
    let answer = async {
        let rows = client.query_typed_raw(statement.sql, parameters).await;
        read_rows(
            rows.map_err(Failure::from_first_answer)?,
            max_bytes,
            from_row,
        )
        .await
    };
    answer.await.map_err(|failure| match failure {
        Failure::Fatal(error) => error,
        Failure::NotExecuted(cause)
        | Failure::RolledBack(cause)
        | Failure::ServerBusy(cause)
        | Failure::ConnectionLost(cause) => Error::Unavailable(cause),
    })
}
