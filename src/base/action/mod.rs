//! Actions as they were configured: a command to run, a request to make. Holds what hooks and steps have in common;
//! must not know why, or around what, something is done. The serialized forms hold secrets as they are.

mod command;
mod error;
mod http;

pub use command::CommandAction;
pub use error::ActionError;
pub use http::{Answered, BasicAuth, HttpAction};

use crate::base::text::Text;

/// How much of somebody's last words goes into a message.
const SAID: usize = 300;

/// The last line, because that is where programs say why they give up.
fn last_words(text: &str) -> String {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID).collect()
}

fn read(text: &Text) -> Result<String, ActionError> {
    text.read().map_err(|(path, source)| ActionError::Unreadable { path: path.to_owned(), source })
}
