//! What is counted while a request is being answered.
//!
//! The counters belong to the task that answers the request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

tokio::task_local! {
    static CURRENT: Arc<RequestContext>;
}

/// The request that is being answered.
pub(crate) struct RequestContext {
    request_id: String,
    counters: Mutex<Counters>,
}

/// What has been counted so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Who is calling, once a token or a password has told.
    pub(crate) user_id: Option<i32>,
    /// The time spent on the database, waiting for a connection included.
    pub(crate) database: Duration,
    /// Round trips to the database on a connection that was already made.
    pub(crate) round_trips: u32,
    /// How often something was sent to the database again.
    pub(crate) retries: u32,
    /// The age of the connection that was used last.
    pub(crate) connection_age: Option<Duration>,
}

impl RequestContext {
    /// The context of a request with this id.
    pub(crate) fn new(request_id: &str) -> Self {
        Self {
            request_id: request_id.to_owned(),
            counters: Mutex::default(),
        }
    }

    /// Runs the work, and returns what it counted with its result.
    pub(crate) async fn run<T>(self, work: impl Future<Output = T>) -> (T, Counters) {
        let context = Arc::new(self);
        let result = CURRENT.scope(context.clone(), work).await;
        (result, context.counters())
    }

    fn counters(&self) -> Counters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes the counters of the current request. Outside of a request, as in a job, there are none.
fn update(change: impl FnOnce(&mut Counters)) {
    let _ = CURRENT.try_with(|context| {
        change(
            &mut context
                .counters
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    });
}

/// Records who is calling.
pub(crate) fn set_user_id(user_id: i32) {
    update(|counters| counters.user_id = Some(user_id));
}

/// Counts a round trip to the database, on a connection of this age.
pub(crate) fn count_round_trip(connection_age: Duration) {
    update(|counters| {
        counters.round_trips += 1;
        counters.connection_age = Some(connection_age);
    });
}

/// Counts something that is sent to the database again.
pub(crate) fn count_retry() {
    update(|counters| counters.retries += 1);
}

/// The id of the current request, for other log lines about it.
pub(crate) fn request_id() -> Option<String> {
    CURRENT.try_with(|context| context.request_id.clone()).ok()
}

/// Counts its lifetime as time spent on the database.
pub(crate) struct DatabaseTimer(Instant);

impl DatabaseTimer {
    /// Starts to count.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Drop for DatabaseTimer {
    fn drop(&mut self) {
        update(|counters| counters.database += self.0.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_has_its_own_counters() {
        let work = async {
            count_retry();
            request_id()
        };
        let (id, counters) = RequestContext::new("a").run(work).await;
        assert_eq!(id.as_deref(), Some("a"));
        assert_eq!(counters.retries, 1);
        assert_eq!(request_id(), None);
    }
}
