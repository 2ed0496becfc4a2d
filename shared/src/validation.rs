//! Reading what a client sent, and naming every rule that it breaks.
//!
//! The shapes and texts are those of the contract (docs/api.md, "Errors"). They are pydantic's, which the frontend knows.
//!
//! A type reads itself from a [`Body`] by asking [`Fields`] for one field after another. A broken rule is recorded and a
//! default value returned, so that every broken rule is found; [`Fields::into_result`] then refuses all of them together.
//! [`Parameters`] are the same for a [`Query`].

mod body;
mod error_offset;
mod fields;
mod integer;
mod mask;
mod query;
mod rules;
#[cfg(test)]
pub(crate) mod testing;
mod violation;

pub use body::Body;
pub use fields::Fields;
pub use integer::lax_int;
pub use query::{Parameters, Query};
pub use rules::{RuleError, any_text, lax_bool, nullable, text};
pub use violation::{InvalidInput, Violation};
