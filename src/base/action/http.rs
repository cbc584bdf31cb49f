//! A request to make, and which statuses of its answer are success.

use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::base::action::{ActionError, last_words, read};
use crate::base::cancel::Cancel;
use crate::base::http::{Request, Url, send};
use crate::base::text::Text;

/// As much of an answer as may hold a message.
const LONGEST_ANSWER: usize = 4 << 10;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAction {
    pub method: String,
    /// A secret, because it may hold a token.
    pub url: Text,
    pub headers: Vec<(String, Text)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    pub body: Option<Text>,
    /// The statuses that are success; empty: 200 to 299.
    pub expect: Vec<u16>,
    pub unix_socket: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
}

/// As whom a request is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasicAuth {
    pub user: Text,
    pub password: Text,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Who answered, without secrets.
    pub place: String,
    pub status: u16,
    /// The last words of the answer.
    pub said: String,
}

impl HttpAction {
    /// `told` are headers that say what it is about. Whatever the status, it is no error here.
    pub fn ask(
        &self,
        told: Vec<(String, String)>,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Answered, ActionError> {
        let request = self.request(told, limit)?;
        let answer = send(&request, cancel)?;
        Ok(Answered::of(&request, answer.status, &answer.body))
    }

    /// The request to make, with secrets as they are now.
    pub fn request(&self, told: Vec<(String, String)>, limit: Duration) -> Result<Request, ActionError> {
        let url: Url = read(&self.url)?.parse().map_err(|reason| ActionError::Url { reason })?;
        let mut headers = told;
        for (name, text) in &self.headers {
            headers.push((name.clone(), read(text)?));
        }
        if let Some(auth) = &self.basic_auth {
            headers.push(("Authorization".to_owned(), auth.header()?));
        }
        Ok(Request {
            method: self.method.clone(),
            headers,
            body: self.body.as_ref().map(read).transpose()?.unwrap_or_default().into_bytes(),
            unix_socket: self.unix_socket.clone(),
            ca_file: self.ca_file.clone(),
            timeout: limit,
            longest_answer: LONGEST_ANSWER,
            ..Request::get(url)
        })
    }

    pub fn expects(&self, status: u16) -> bool {
        match self.expect.as_slice() {
            [] => (200..300).contains(&status),
            expected => expected.contains(&status),
        }
    }
}

impl Answered {
    pub fn of(request: &Request, status: u16, body: &[u8]) -> Self {
        Self { place: request.place(), status, said: last_words(&String::from_utf8_lossy(body)) }
    }
}

impl BasicAuth {
    fn header(&self) -> Result<String, ActionError> {
        let (user, password) = (read(&self.user)?, read(&self.password)?);
        match user.contains(':') {
            true => Err(ActionError::UserName),
            false => Ok(format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()))),
        }
    }
}

impl From<Answered> for ActionError {
    fn from(answered: Answered) -> Self {
        let Answered { place, status, said } = answered;
        Self::Status { place, status, said }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    fn auth(user: &str, password: &str) -> BasicAuth {
        let text = |text: &str| Text::Value(Secret::new(text));
        BasicAuth { user: text(user), password: text(password) }
    }

    #[test]
    fn a_user_and_a_password_become_one_header() {
        // The example of RFC 7617.
        let header = auth("Aladdin", "open sesame").header().unwrap();
        assert_eq!(header, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(auth("a", "b:c").header().is_ok());
        assert!(matches!(auth("a:b", "c").header(), Err(ActionError::UserName)));
    }
}
