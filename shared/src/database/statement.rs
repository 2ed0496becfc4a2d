//! Statements, and whether they may be sent twice.

use tokio_postgres::types::{ToSql, Type};

/// A statement, and what sending it twice would do: a connection can be lost after a statement was executed and before its
/// answer arrived.
#[derive(Debug)]
pub struct Statement {
    pub(super) sql: &'static str,
    pub(super) effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Effect {
    Read,
    IdempotentWrite,
    Write,
}

impl Statement {
    /// A statement that changes nothing.
    pub const fn read(sql: &'static str) -> Self {
        let effect = Effect::Read;
        Self { sql, effect }
    }

    /// A statement that, sent twice, has the same effect and the same answer as sent once.
    pub const fn idempotent_write(sql: &'static str) -> Self {
        let effect = Effect::IdempotentWrite;
        Self { sql, effect }
    }

    /// Any other statement. It is never sent again when it may have been executed.
    pub const fn write(sql: &'static str) -> Self {
        let effect = Effect::Write;
        Self { sql, effect }
    }

    /// Its text.
    pub const fn sql(&self) -> &'static str {
        self.sql
    }
}

/// The parameters of a statement with their types. Since the types are known, parse, bind and execute take one round trip.
pub type Parameters<'a> = [(&'a (dyn ToSql + Sync), Type)];
