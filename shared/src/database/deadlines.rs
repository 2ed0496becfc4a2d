//! How long each step may take.
//!
//! A request takes at most two statements, so it is answered within 2 × (`ACQUIRE` + `STATEMENT`) = 21 s, inside the
//! function's timeout (25 s) and API Gateway's (30 s).

use std::time::Duration;

/// One attempt to connect: name, TCP, TLS and authentication. Waking a suspended compute takes a few hundred
/// milliseconds of it.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// Getting a connection, be it a new one or the one that another task of the instance is making.
pub(super) const ACQUIRE: Duration = Duration::from_millis(5_500);

/// Seeing whether an idle connection is still open, which takes no round trip.
pub(super) const RECYCLE: Duration = Duration::from_secs(1);

/// One statement and its answer.
pub(super) const STATEMENT: Duration = Duration::from_secs(5);

/// Waiting for another run of the migrations to finish.
pub(super) const MIGRATION_LOCK: Duration = Duration::from_mins(1);

/// A migration's wait for a table that another session uses. Meanwhile everyone else waits behind the migration.
pub(super) const TABLE_LOCK: Duration = Duration::from_secs(10);
