//! The sequences of the ids. Rows that were imported with their ids leave the sequences behind.

use tokio_postgres::Client;

use crate::catalog::tables;
use crate::error::MigrateError;

/// The sequences that are owned by the columns `id` of the tables `$1`.
const SELECT_SEQUENCES: &str = "
    SELECT name, sequence::regclass::text
    FROM unnest($1::text[]) AS name
    JOIN pg_attribute ON attrelid = to_regclass(format('public.%I', name)) AND attname = 'id'
                     AND atttypid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)
    CROSS JOIN pg_get_serial_sequence(format('public.%I', name), 'id') AS sequence
    WHERE sequence IS NOT NULL AND has_sequence_privilege(sequence, 'SELECT')
      AND has_table_privilege(attrelid, 'SELECT')";

/// A sequence whose next value is not above the largest id.
#[derive(Debug)]
pub(crate) struct Lag {
    table: String,
    sequence: String,
    next: i64,
    largest_id: i64,
}

impl Lag {
    /// The difference, for `verify`.
    pub(crate) fn describe(&self) -> String {
        format!(
            "table {}, sequence {}: found {} as the next value; expected one above {}, the largest id (migrate sets it)",
            self.table, self.sequence, self.next, self.largest_id
        )
    }

    /// What was done, for `migrate`.
    pub(crate) fn describe_as_corrected(&self) -> String {
        format!(
            "the next value of the sequence {} was {}, and the largest id is {}; the sequence goes on after that",
            self.sequence, self.next, self.largest_id
        )
    }
}

/// The sequences that are behind. One that this role may not read is left out.
///
/// # Errors
/// Those of the database.
pub(crate) async fn find_lagging(client: &Client) -> Result<Vec<Lag>, MigrateError> {
    let error = MigrateError::from_step("reading the sequences");
    let sequences = client
        .query(SELECT_SEQUENCES, &[&tables()])
        .await
        .map_err(&error)?;
    let mut lagging = Vec::new();
    for row in sequences {
        let (table, sequence): (String, String) = (row.get(0), row.get(1));
        let position = format!(
            "SELECT next, largest_id
             FROM (SELECT last_value + CASE WHEN is_called THEN seqincrement ELSE 0 END AS next
                   FROM {sequence} JOIN pg_sequence ON seqrelid = $1::text::regclass) AS sequence,
                  (SELECT max(id)::bigint AS largest_id FROM public.\"{table}\") AS ids
             WHERE next <= largest_id"
        );
        let behind = client
            .query_opt(&position, &[&sequence])
            .await
            .map_err(&error)?;
        lagging.extend(behind.map(|row| Lag {
            table,
            sequence,
            next: row.get(0),
            largest_id: row.get(1),
        }));
    }
    Ok(lagging)
}

/// Sets the sequences that are behind, and returns how they were found.
///
/// # Errors
/// Those of the database.
pub(crate) async fn correct(client: &Client) -> Result<Vec<Lag>, MigrateError> {
    let lagging = find_lagging(client).await?;
    for Lag {
        table, sequence, ..
    } in &lagging
    {
        // A sequence that others have advanced meanwhile is not set back.
        let correct = format!(
            "SELECT setval($1::text::regclass,
                           greatest(nextval($1::text::regclass), (SELECT max(id) FROM public.\"{table}\")))"
        );
        client
            .execute(&correct, &[sequence])
            .await
            .map_err(MigrateError::from_step("setting a sequence"))?;
    }
    Ok(lagging)
}
