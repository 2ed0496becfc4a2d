//! Timestamps in the format of the contract (docs/api.md, "Bodies").

use std::error::Error;

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};
use jiff::fmt::temporal::DateTimePrinter;
use serde::{Serialize, Serializer};
use tokio_postgres::types::{FromSql, Type, accepts};

/// The first and the last time that a client gets: those of Python's `datetime`, and the years that ISO 8601 writes with
/// four digits.
const FIRST: DateTime = date(1, 1, 1).at(0, 0, 0, 0);
const LAST: DateTime = date(9999, 12, 31).at(23, 59, 59, 999_999_000);

/// What PostgreSQL counts the microseconds of a timestamp from.
const POSTGRES_EPOCH: DateTime = date(2000, 1, 1).at(0, 0, 0, 0);

static WITHOUT_FRACTION: DateTimePrinter = DateTimePrinter::new();
static WITH_MICROSECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// A column of the type `timestamp`, in UTC.
///
/// PostgreSQL can hold times that no client can read: from 4713 BC to the year 294276, and `infinity`. They count as the
/// [first](FIRST) or the [last](LAST) time that a client can read, so that every row has an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Timestamp(DateTime);

impl Timestamp {
    /// From microseconds since 2000. The smallest and the largest number stand for `-infinity` and `infinity`.
    fn from_microseconds(microseconds: i64) -> Self {
        let time = POSTGRES_EPOCH.saturating_add(SignedDuration::from_micros(microseconds));
        Self(time.clamp(FIRST, LAST))
    }
}

impl<'a> FromSql<'a> for Timestamp {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        i64::from_sql(kind, raw).map(Self::from_microseconds)
    }

    accepts!(TIMESTAMP);
}

impl Serialize for Timestamp {
    /// Writes a time as Python's `datetime.isoformat()` does: microseconds, or no fraction at all where it is zero.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(time) = self;
        let printer = if time.subsec_nanosecond() == 0 {
            &WITHOUT_FRACTION
        } else {
            &WITH_MICROSECONDS
        };
        let mut text = String::with_capacity("2026-11-23T06:03:59.194993".len());
        printer
            .print_datetime(time, &mut text)
            .map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Unit;
    use proptest::prelude::*;

    use super::*;

    fn written(time: Timestamp) -> String {
        let text = serde_json::to_value(time).expect("a string");
        text.as_str().expect("a string").to_owned()
    }

    #[test]
    fn a_time_reads_as_python_prints_it() {
        for (time, text) in [
            (
                date(2026, 11, 23).at(6, 3, 59, 194_993_000),
                "2026-11-23T06:03:59.194993",
            ),
            (
                date(2026, 11, 23).at(6, 3, 59, 190_000_000),
                "2026-11-23T06:03:59.190000",
            ),
            (date(2026, 11, 23).at(6, 3, 0, 0), "2026-11-23T06:03:00"),
            (
                date(999, 1, 2).at(0, 0, 0, 1_000),
                "0999-01-02T00:00:00.000001",
            ),
        ] {
            assert_eq!(written(Timestamp(time)), text);
        }
    }

    proptest! {
        #[test]
        fn every_timestamp_of_postgresql_is_a_time_that_python_can_read(
            microseconds in prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>(), -100_000_000_000_000_000..300_000_000_000_000_000_i64],
        ) {
            let raw = microseconds.to_be_bytes();
            let time = Timestamp::from_sql(&Type::TIMESTAMP, &raw).expect("a time");
            let text = written(time);
            let read: DateTime = text.parse().expect("a time");
            prop_assert_eq!(Timestamp(read), time);
            prop_assert!(text.len() == 26 || text.len() == 19, "{}", text);
            // A time within the range is exactly itself.
            if FIRST < read && read < LAST {
                let since = read.since((Unit::Microsecond, POSTGRES_EPOCH)).expect("a span");
                prop_assert_eq!(since.get_microseconds(), microseconds);
            }
        }
    }
}
