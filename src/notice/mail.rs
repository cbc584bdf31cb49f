//! Notices by mail, through a server that takes them by SMTP. The certificates of the machine are read when a mail
//! goes out, and not kept.

use std::time::Duration;

use data_encoding::BASE64;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{SmtpTransport, Transport};

use crate::base::cancel::Cancel;
use crate::base::secret::{REDACTED, Secret};
use crate::base::within::within_unless;
use crate::notice::channel::{Mail, Security};
use crate::notice::request::read;
use crate::notice::{Letter, NoticeError};

/// For each word of the server. All of them together have the limit of the notice.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether `text` is an address such as `Volkeep <volkeep@example.org>`; otherwise why not.
pub fn check_address(text: &str) -> Result<(), String> {
    text.parse::<Mailbox>().map(drop).map_err(|error| format!("`{text}` is not a mail address: {error}"))
}

pub(super) fn send(
    mail: &Mail,
    letter: &Letter,
    limit: Duration,
    cancel: &Cancel,
) -> Result<(), NoticeError> {
    let message = message(mail, letter)?;
    let password = mail.login.as_ref().map(|(_, password)| read(password)).transpose()?;
    let place = format!("the mail server {}:{}", mail.host, mail.port);
    let failed =
        |reason: String, retryable| NoticeError::Mail { reason: format!("{place}: {reason}"), retryable };
    let owned = mail.clone();
    let secret = password.clone();
    // A name that is not resolved, or a server that speaks slowly, has no time limit of its own.
    let sent = within_unless(limit, cancel, move || transport(&owned, secret)?.send(&message));
    match sent {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => {
            let lasting = error.is_permanent() || error.is_client() || error.is_tls();
            Err(failed(without(&error.to_string(), mail, password.as_ref()), !lasting))
        }
        None if cancel.is_cancelled() => Err(NoticeError::Cancelled),
        None => Err(failed(format!("not done after {} s", limit.as_secs()), true)),
    }
}

fn message(mail: &Mail, letter: &Letter) -> Result<Message, NoticeError> {
    let bad = |error: &dyn std::fmt::Display| NoticeError::Address(error.to_string());
    let mailbox = |text: &str| text.parse::<Mailbox>().map_err(|error| bad(&error));
    let mut builder = Message::builder()
        .from(mailbox(&mail.from)?)
        .subject(format!("[volkeep] {}", letter.title))
        .message_id(None)
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ));
    for to in &mail.to {
        builder = builder.to(mailbox(to)?);
    }
    builder.body(letter.text.clone()).map_err(|error| bad(&error))
}

fn transport(mail: &Mail, password: Option<Secret>) -> Result<SmtpTransport, lettre::transport::smtp::Error> {
    let parameters = || TlsParameters::new(mail.host.clone());
    let tls = match mail.security {
        Security::StartTls => Tls::Required(parameters()?),
        Security::Tls => Tls::Wrapper(parameters()?),
        Security::None => Tls::None,
    };
    // The builder is called dangerous because it begins without TLS; that is set right here.
    let mut builder =
        SmtpTransport::builder_dangerous(mail.host.clone()).port(mail.port).tls(tls).timeout(Some(PATIENCE));
    if let (Some((user, _)), Some(password)) = (&mail.login, password) {
        builder = builder.credentials(Credentials::new(user.clone(), password.reveal().to_owned()));
    }
    Ok(builder.build())
}

/// A server may repeat in its answer what it was told.
fn without(message: &str, mail: &Mail, password: Option<&Secret>) -> String {
    let (Some((user, _)), Some(password)) = (&mail.login, password.map(Secret::reveal)) else {
        return message.to_owned();
    };
    let plain = BASE64.encode(format!("\0{user}\0{password}").as_bytes());
    [password.to_owned(), plain, BASE64.encode(password.as_bytes())]
        .iter()
        .filter(|secret| !secret.is_empty())
        .fold(message.to_owned(), |message, secret| message.replace(secret.as_str(), REDACTED))
}
