//! Accounts: registering, logging in and out, and everything that an account's owner does with it.

mod account;
mod deletion;
mod login;
mod password_change;
mod reauthentication;
mod registration;
mod sessions;
mod verification;

pub use account::{User, get};
pub use deletion::{AccountDeletion, delete};
pub use login::{Credentials, log_in};
pub use password_change::{PasswordChange, change_password};
pub use registration::{NewUser, Registered, register};
pub use sessions::{Purged, delete_expired, log_out, purge_sessions};
pub use verification::select_hash;
