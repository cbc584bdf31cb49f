//! A check by a program that answers requests about the volume. Only a status that is configured to mean damage does:
//! whoever is not there, or says anything else, has found nothing.

use std::time::Duration;

use super::Verdict;
use super::limit::limited;
use crate::base::action::HttpAction;
use crate::base::cancel::Cancel;

pub(super) fn run(request: &HttpAction, corrupt: &[u16], span: Duration) -> Verdict {
    let (request, corrupt) = (request.clone(), corrupt.to_vec());
    limited(span, move |_| match request.ask(Vec::new(), span, &Cancel::new()) {
        Ok(answered) if request.expects(answered.status) => Verdict::Good,
        Ok(answered) => {
            let said = match answered.said.is_empty() {
                true => String::new(),
                false => format!(": {}", answered.said),
            };
            let text = format!("{} answered with status {}{said}", answered.place, answered.status);
            match corrupt.contains(&answered.status) {
                true => Verdict::Damaged(text),
                false => Verdict::Unknown(text),
            }
        }
        Err(error) => Verdict::Unknown(error.to_string()),
    })
}
