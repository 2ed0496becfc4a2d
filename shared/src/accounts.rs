//! Accounts: registering, logging in and out, and everything that an account's owner does with it.

mod account;
mod deletion;
mod login;
mod password_change;
mod purge;
mod reauthentication;
mod refresh;
mod registration;
mod sessions;
mod token_creation;
mod verification;

pub use account::{User, get};
pub use deletion::{AccountDeletion, delete};
pub use login::{Credentials, log_in};
pub use password_change::{PasswordChange, change_password};
pub use purge::{Purged, delete_expired, purge_sessions};
pub use refresh::refresh;
pub use registration::{NewUser, Registered, register};
pub use sessions::{OtherSessions, Session, end_session, end_sessions, list_sessions, log_out};
pub use token_creation::{CreatedToken, NewToken, create_token};
pub use verification::select_hash;
