//! What the client's errors mean to us: who can help, and whether another try may. Must not know what was
//! asked for, only the name of the permission that it needs.

use std::error::Error;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ConnectorError, ProvideErrorMetadata, SdkError};

use crate::store::s3::transport::Stalled;
use crate::store::{Denial, Obstacle, StoreError};

/// Answers that mean something to whoever asked, and errors that mean the same to everybody.
#[derive(Debug)]
pub(super) enum Refusal {
    NoObject,
    NoBucket,
    /// `If-Match` or `If-None-Match` did not hold.
    Precondition,
    /// A range that begins behind the end of the object.
    Range,
    /// The store does not know this kind of request.
    NotImplemented,
    /// An upload must say its MD5.
    WantsMd5,
    BucketExists,
    Other(StoreError),
}

/// `permission` is what the request needs, such as `s3:GetObject`.
pub(super) fn sort<E>(location: &str, permission: &'static str, error: SdkError<E, HttpResponse>) -> Refusal
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match &error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            of_service(location, permission, status, answer.err().code(), answer.err().message())
        }
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            Refusal::Other(temporary(
                location,
                format!("an answer {status} that makes no sense: {}", chain(&error)),
            ))
        }
        _ => Refusal::Other(on_the_way(location, &error)),
    }
}

pub(super) fn temporary(location: &str, reason: impl Into<String>) -> StoreError {
    StoreError::Temporary { location: location.to_owned(), reason: reason.into() }
}

pub(super) fn no_bucket(location: &str) -> StoreError {
    StoreError::Unreachable {
        location: location.to_owned(),
        reason: "there is no such bucket".to_owned(),
        obstacle: Obstacle::Container,
    }
}

/// Layers of the client that name themselves and no cause.
const SAY_NOTHING: [&str; 8] = [
    "dispatch failure",
    "io error",
    "timeout",
    "other",
    "client error (Connect)",
    "client error (SendRequest)",
    "an error occurred while loading credentials",
    "streaming error",
];

/// All the causes in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !SAY_NOTHING.contains(&text.as_str()) && parts.last().is_none_or(|last| !last.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    match parts.is_empty() {
        true => error.to_string(),
        false => parts.join(": "),
    }
}

/// A 404 in other words than S3's, from a proxy or a page: neither an object nor a bucket is known to be absent.
pub(super) fn stranger(location: &str) -> StoreError {
    temporary(location, "404 was answered, and not in the words of an S3 store; is the endpoint right?")
}

pub(super) fn of_service(
    location: &str,
    permission: &'static str,
    status: u16,
    code: Option<&str>,
    message: Option<&str>,
) -> Refusal {
    let location = location.to_owned();
    let reason = match (code, message) {
        (Some(code), Some(message)) if !message.is_empty() => format!("{code}: {message}"),
        (Some(code), _) => format!("{code} ({status})"),
        (None, _) if (200..=299).contains(&status) => {
            format!("the answer was {status}, and not in the words of an S3 store; is the endpoint right?")
        }
        (None, _) => format!("the answer was {status}"),
    };
    let denied = |denial| {
        Refusal::Other(StoreError::Denied { location: location.clone(), reason: reason.clone(), denial })
    };
    match code.unwrap_or_default() {
        "NoSuchKey" | "NotFound" => Refusal::NoObject,
        "NoSuchBucket" => Refusal::NoBucket,
        "PreconditionFailed" => Refusal::Precondition,
        "InvalidRange" => Refusal::Range,
        "NotImplemented" | "MethodNotAllowed" => Refusal::NotImplemented,
        "BucketAlreadyOwnedByYou" => Refusal::BucketExists,
        "InvalidRequest" if message.is_some_and(|message| message.contains("Content-MD5")) => {
            Refusal::WantsMd5
        }
        "RequestTimeTooSkewed" => denied(Denial::Clock),
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "InvalidSecurity"
        | "UnrecognizedClientException" => denied(Denial::Credentials),
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            denied(Denial::Region)
        }
        "AccessDenied"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "BucketAlreadyExists"
        | "KMS.DisabledException"
        | "KMS.NotFoundException" => denied(Denial::Permission(Some(permission))),
        "QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage" => {
            Refusal::Other(StoreError::Full { location, reason })
        }
        // A second writer at the same instant: one of both is told to come back.
        "ConditionalRequestConflict"
        | "OperationAborted"
        | "SlowDown"
        | "RequestTimeout"
        | "InternalError"
        | "ServiceUnavailable"
        | "Busy"
        | "RequestLimitExceeded"
        | "ThrottlingException" => Refusal::Other(StoreError::Temporary { location, reason }),
        _ => match status {
            404 => Refusal::NoObject,
            412 => Refusal::Precondition,
            416 => Refusal::Range,
            501 => Refusal::NotImplemented,
            301 | 307 => denied(Denial::Region),
            401 | 403 => denied(Denial::Permission(Some(permission))),
            507 => Refusal::Other(StoreError::Full { location, reason }),
            // An error within a 200: joining parts takes long, and the answer begins before it is known.
            200..=299 | 408 | 409 | 425 | 429 | 500.. => {
                Refusal::Other(StoreError::Temporary { location, reason })
            }
            _ => Refusal::Other(StoreError::Io { location, source: io::Error::other(reason) }),
        },
    }
}

/// Nothing was answered.
fn on_the_way(location: &str, error: &(dyn Error + 'static)) -> StoreError {
    let location = location.to_owned();
    let reason = chain(error);
    if let Some(cause) = find::<CredentialsError>(error) {
        return without_key(location, cause);
    }
    if let Some(stalled) = find::<Stalled>(error) {
        let reason = stalled.to_string();
        return StoreError::Unreachable { location, reason, obstacle: Obstacle::Silence };
    }
    let kind = find::<io::Error>(error).map(io::Error::kind);
    let told = reason.to_ascii_lowercase();
    let obstacle = match kind {
        Some(io::ErrorKind::ConnectionRefused) => Obstacle::Refused,
        // The client keeps the types of these to itself.
        _ if told.contains("dns error") || told.contains("failed to lookup") => Obstacle::Name,
        // By its words: how the TLS library's own errors come wrapped is no promise. A connection cut in the
        // handshake is not among them, and may pass.
        _ if told.contains("tls") && NOT_OURS.iter().any(|words| told.contains(words)) => {
            Obstacle::Certificate
        }
        Some(io::ErrorKind::TimedOut) => Obstacle::Silence,
        _ if told.contains("timeout") || told.contains("timed out") => Obstacle::Silence,
        Some(
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof,
        ) => return StoreError::Temporary { location, reason },
        _ => Obstacle::Network,
    };
    StoreError::Unreachable { location, reason, obstacle }
}

fn without_key(location: String, cause: &CredentialsError) -> StoreError {
    let denied = |reason: String, denial| StoreError::Denied { location: location.clone(), reason, denial };
    let told = chain(cause);
    match cause {
        CredentialsError::CredentialsNotLoaded(_) => {
            denied("no access key was found".to_owned(), Denial::NoCredentials)
        }
        // The last that is asked is the machine itself, and only when nothing else had a key.
        CredentialsError::ProviderError(_) if told.contains("IMDS") => denied(
            format!("no access key was found, not on this machine either: {told}"),
            Denial::NoCredentials,
        ),
        // Somebody is to give out keys and did not answer: he may come back, as the store may.
        _ if matches!(cause, CredentialsError::ProviderTimedOut(_))
            || find::<ConnectorError>(cause).is_some() =>
        {
            let reason = format!("nobody answers who gives out the access key: {told}");
            StoreError::Unreachable { location, reason, obstacle: Obstacle::Network }
        }
        _ => denied(format!("the access key cannot be had: {told}"), Denial::Credentials),
    }
}

/// What the TLS library says of somebody whom it does not trust, or who speaks another protocol.
const NOT_OURS: [&str; 4] = ["certificate", "corrupt message", "fatal alert", "incompatible"];

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An `io::Error` hides what it wraps: its source is the source of what is inside.
        if let Some(inside) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(found) = inside.downcast_ref()
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, code: Option<&str>) -> Refusal {
        of_service("s3://b", "s3:GetObject", status, code, Some("why"))
    }

    #[test]
    fn answers_are_sorted_by_who_can_help() {
        let denied = |status, code| match told(status, code) {
            Refusal::Other(StoreError::Denied { denial, .. }) => denial,
            other => panic!("{other:?}"),
        };
        assert_eq!(denied(403, Some("AccessDenied")), Denial::Permission(Some("s3:GetObject")));
        assert_eq!(denied(403, None), Denial::Permission(Some("s3:GetObject")));
        assert_eq!(denied(403, Some("InvalidAccessKeyId")), Denial::Credentials);
        assert_eq!(denied(403, Some("SignatureDoesNotMatch")), Denial::Credentials);
        assert_eq!(denied(403, Some("RequestTimeTooSkewed")), Denial::Clock);
        assert_eq!(denied(301, None), Denial::Region);
        assert!(matches!(told(404, Some("NoSuchBucket")), Refusal::NoBucket));
        assert!(matches!(told(404, None), Refusal::NoObject));
        assert!(matches!(told(412, None), Refusal::Precondition));
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for (status, code) in [
            (503, Some("SlowDown")),
            (500, Some("InternalError")),
            (429, None),
            (409, Some("OperationAborted")),
        ] {
            let Refusal::Other(error) = told(status, code) else { panic!("{status} {code:?}") };
            assert!(error.retryable(), "{error}");
        }
        let Refusal::Other(error) = told(400, Some("InvalidArgument")) else { panic!() };
        assert!(!error.retryable(), "{error}");
    }
}
