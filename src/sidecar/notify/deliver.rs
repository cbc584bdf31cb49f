//! Takes one message to one target. What it takes to get there is `notice`'s business.

use std::fmt;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::notice::{self, NoticeError};
use crate::sidecar::notify::message::letter;
use crate::sidecar::notify::target::{Target, TargetKind};
use crate::sidecar::notify::{About, Message, ping};

/// For one attempt.
const TIME_LIMIT: Duration = Duration::from_secs(15);

/// The way out; tests have another one.
pub trait Deliver: Send + Sync + fmt::Debug {
    fn deliver(
        &self,
        target: &Target,
        message: &Message,
        about: &About,
        cancel: &Cancel,
    ) -> Result<(), NoticeError>;
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery;

impl Deliver for Delivery {
    fn deliver(
        &self,
        target: &Target,
        message: &Message,
        about: &About,
        cancel: &Cancel,
    ) -> Result<(), NoticeError> {
        match (&target.kind, message) {
            (TargetKind::People(channel), Message::Notice(told)) => {
                notice::send(channel, &letter(told, about), TIME_LIMIT, cancel)
            }
            (TargetKind::Ping(service), message) => match ping::to_service(service, message)? {
                Some(request) => notice::send_request(request, TIME_LIMIT, cancel),
                None => Ok(()),
            },
            (TargetKind::People(_), _) => Ok(()),
        }
    }
}
