//! Timestamps in the format of the contract (docs/api.md, "Bodies").

use jiff::civil::DateTime;
use jiff::fmt::temporal::DateTimePrinter;
use serde::Serializer;

static WITHOUT_FRACTION: DateTimePrinter = DateTimePrinter::new();
static WITH_MICROSECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// Writes a time as Python's `datetime.isoformat()` does: microseconds, or no fraction at all where it is zero.
///
/// # Errors
/// Those of the serializer.
pub(crate) fn serialize<S: Serializer>(time: &DateTime, serializer: S) -> Result<S::Ok, S::Error> {
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

#[cfg(test)]
mod tests {
    use jiff::civil::{DateTime, date};

    fn written(time: DateTime) -> String {
        super::serialize(&time, serde_json::value::Serializer)
            .expect("a string")
            .as_str()
            .expect("a string")
            .to_owned()
    }

    #[test]
    fn a_time_reads_as_python_prints_it() {
        assert_eq!(
            written(date(2026, 11, 23).at(6, 3, 59, 194_993_000)),
            "2026-11-23T06:03:59.194993"
        );
        assert_eq!(
            written(date(2026, 11, 23).at(6, 3, 59, 190_000_000)),
            "2026-11-23T06:03:59.190000"
        );
        assert_eq!(
            written(date(2026, 11, 23).at(6, 3, 0, 0)),
            "2026-11-23T06:03:00"
        );
        assert_eq!(
            written(date(999, 1, 2).at(0, 0, 0, 1_000)),
            "0999-01-02T00:00:00.000001"
        );
    }
}
