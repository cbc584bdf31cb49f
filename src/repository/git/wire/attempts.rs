//! Tries again to reach a server that is away for the moment. What was asked of it is never tried again here: only
//! whoever asked knows whether that may be done twice.

use crate::base::clock::SystemClock;
use crate::repository::RepositoryError;
use crate::repository::git::options::GitOptions;
use crate::store::retry::{RetryPolicy, retry};

#[derive(Clone, Debug)]
pub(super) struct Attempts {
    policy: RetryPolicy,
    location: String,
}

impl Attempts {
    pub(super) fn of(options: &GitOptions) -> Self {
        let policy = RetryPolicy {
            deadline: options.retry_deadline,
            cancel: options.cancel.clone(),
            ..RetryPolicy::default()
        };
        Self { policy, location: options.location() }
    }

    pub(super) fn run<T>(
        &self,
        operation: &'static str,
        attempt: impl FnMut() -> Result<T, RepositoryError>,
    ) -> Result<T, RepositoryError> {
        let clock = SystemClock::default();
        let named = (operation, self.location.as_str());
        let outcome = retry(&self.policy, &clock, named, RepositoryError::retryable, attempt);
        match outcome {
            Err(_) if self.policy.cancel.is_cancelled() => Err(RepositoryError::Cancelled),
            outcome => outcome,
        }
    }
}
