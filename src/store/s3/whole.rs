//! Refuses answers that were cut. The client reads a listing that breaks off in the middle as a short one, and where
//! the length does not tell, or lies, nothing else notices. Must not know what the answers say.

use aws_sdk_s3::config::ConfigBag;
use aws_sdk_s3::config::RuntimeComponents;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;

/// An answer in which half of the snapshots are missing must not pass for a repository with half of them.
#[derive(Debug)]
pub(super) struct WholeAnswers;

impl Intercept for WholeAnswers {
    fn name(&self) -> &'static str {
        "WholeAnswers"
    }

    /// Objects are not looked at: they have gone to whoever asked, and have hashes of their own.
    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        match answer.body().bytes() {
            Some(text) if answer.status().is_success() && !is_whole(text) => {
                Err("the answer breaks off in the middle".into())
            }
            _ => Ok(()),
        }
    }
}

/// A document ends with the end of what it begins with. What is no document is for others to judge.
fn is_whole(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let Some(root) = root(text) else { return !text.starts_with(b"<") };
    let name = root.split(|byte| byte.is_ascii_whitespace() || *byte == b'/').next().unwrap_or_default();
    match text.strip_suffix(b">").map(<[u8]>::trim_ascii_end).and_then(|rest| rest.strip_suffix(name)) {
        Some(rest) if rest.ends_with(b"</") => true,
        // Nothing in it, and nothing after it.
        _ => root.ends_with(b"/") && text.strip_suffix(b">").is_some_and(|rest| rest.ends_with(root)),
    }
}

/// Between the brackets of the first tag, behind a declaration and comments.
fn root(text: &[u8]) -> Option<&[u8]> {
    text.split(|byte| *byte == b'<')
        .skip(1)
        .find(|tag| !tag.starts_with(b"?") && !tag.starts_with(b"!"))
        .and_then(|tag| Some(&tag[..tag.iter().position(|byte| *byte == b'>')?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_off_is_not_whole() {
        let listing = "<?xml version=\"1.0\"?>\n<!-- of a > test -->\n<List xmlns=\"urn:x\"><Name>a</Name>\
                       <IsTruncated>false</IsTruncated><Contents><Key>List</Key></Contents></List>\n";
        for length in 1..listing.trim_end().len() {
            assert!(!is_whole(&listing.as_bytes()[..length]), "{}", &listing[..length]);
        }
        for whole in
            [listing, listing.trim_end(), "<A/>", "<?xml?><A b=\"c\" />", "<A></A >", "", " \n", "{}"]
        {
            assert!(is_whole(whole.as_bytes()), "{whole}");
        }
    }
}
