//! Makes a request for a hook and judges the status of its answer.

use std::time::Duration;

use super::error::HookError;
use super::perform::Call;
use crate::base::action::HttpAction;

/// Said to commands alone: the one may hold anything, the other is of no use elsewhere.
const NOT_TOLD: [&str; 2] = ["VOLKEEP_ERROR", "VOLKEEP_VOLUME"];

pub(super) fn run(action: &HttpAction, limit: Duration, call: &Call<'_>) -> Result<(), HookError> {
    let failed = |source| HookError::Action { hook: call.hook.clone(), source };
    let told: Vec<(String, String)> = call
        .env
        .iter()
        .filter(|(name, value)| !NOT_TOLD.contains(&name.as_str()) && value.is_ascii())
        .map(|(name, value)| (header_name(name), value.clone()))
        .collect();
    let answered = action.ask(told, limit, call.cancel).map_err(failed)?;
    tracing::debug!(job = call.job, hook = call.hook, status = answered.status, "answered");
    match action.expects(answered.status) {
        true => Ok(()),
        false => Err(failed(answered.into())),
    }
}

/// `VOLKEEP_JOB` → `Volkeep-Job`.
fn header_name(variable: &str) -> String {
    let words = variable.split('_').map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_string() + &letters.as_str().to_ascii_lowercase())
    });
    words.flatten().collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_headers() {
        assert_eq!(header_name("VOLKEEP_JOB"), "Volkeep-Job");
    }
}
