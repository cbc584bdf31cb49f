//! Addresses of buckets: `s3://bucket/prefix?endpoint=https://s3.example.org:9000&region=eu-central-1`. Strict:
//! what is mistyped here would otherwise be found out by a request to the wrong place.

use std::fmt;

use crate::config::repository_url::{host, percent};
use crate::config::schema;
use crate::store::Key;

/// A bucket, or the part of it that begins with a prefix, and the way there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Address {
    pub bucket: String,
    /// Without slashes at its ends; empty is the whole bucket.
    pub prefix: String,
    /// `http://host:port` or `https://host:port`; the port may be left out.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub path_style: Option<bool>,
    /// Of the shared configuration of Amazon's tools.
    pub profile: Option<String>,
}

const PARAMETERS: [&str; 4] = ["endpoint", "region", "path_style", "profile"];

/// S3 takes keys of 1024 bytes; what is put behind the prefix is shorter than the rest.
const LONGEST_PREFIX: usize = 800;

impl S3Address {
    /// The region and the style of requests make no other bucket of it.
    pub fn is_same_place(&self, other: &Self) -> bool {
        (&self.bucket, &self.prefix, &self.endpoint) == (&other.bucket, &other.prefix, &other.endpoint)
    }
}

/// `rest` is what follows `s3://`. Nothing that could be a secret is repeated in an error.
pub(super) fn parse(rest: &str) -> Result<S3Address, String> {
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.contains(['@', ':']) {
        // A secret may hold slashes, so nothing behind it is safe to show either.
        return Err(
            "keys do not belong into an address, which is shown in logs (it is left out here): put them into \
             s3.access_key_id and s3.secret_access_key_file, or where Amazon's tools look for them"
                .to_owned(),
        );
    }
    if let Some(why) = no_bucket(bucket) {
        return Err(format!("`{bucket}` cannot be the name of a bucket: {why}"));
    }
    let mut address = S3Address {
        bucket: bucket.to_owned(),
        prefix: parse_prefix(prefix).map_err(|why| format!("the prefix of s3://{bucket}/{why}"))?,
        ..S3Address::default()
    };
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        set(&mut address, parameter)?;
    }
    Ok(address)
}

fn no_bucket(name: &str) -> Option<&'static str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [name.bytes().next(), name.bytes().last()];
    if !(3..=63).contains(&name.len()) {
        Some("it has 3 to 63 characters")
    } else if !name.bytes().all(|byte| plain(byte) || matches!(byte, b'-' | b'.')) {
        Some("it consists of lower-case letters, digits, `-` and `.`")
    } else if !ends.into_iter().flatten().all(plain) {
        Some("it begins and ends with a letter or digit")
    } else if name.contains("..") {
        Some("it has no two dots in a row")
    } else if name.parse::<std::net::Ipv4Addr>().is_ok() {
        Some("it is not written as an IP address")
    } else {
        None
    }
}

/// The error goes on behind the bucket and its slash.
fn parse_prefix(text: &str) -> Result<String, String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    // Refused rather than decoded: messages, markers and this address then all write the prefix alike.
    if text.contains(['%', '#']) {
        return Err(format!("{text} has a `%` or `#`, which a prefix cannot have"));
    }
    if text.len() > LONGEST_PREFIX {
        return Err(format!("{text} is longer than {LONGEST_PREFIX} bytes"));
    }
    if text.is_empty() {
        return Ok(String::new());
    }
    match Key::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{text} is not usable: {error}")),
    }
}

fn set(address: &mut S3Address, parameter: &str) -> Result<(), String> {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    if !PARAMETERS.contains(&name) {
        let nearest = schema::nearest(name, PARAMETERS.into_iter());
        let known = match nearest {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("it has {}, and everything else has its key below `s3`", PARAMETERS.join(", ")),
        };
        return Err(format!("an s3:// address has no parameter `{name}`; {known}"));
    }
    let refuse = |why: &str| format!("the parameter `{name}` of the s3:// address {why}");
    let value = percent::decode(value).ok_or_else(|| refuse("has a `%` without two hex digits"))?;
    if value.is_empty() {
        return Err(refuse("has no value"));
    }
    let twice = || refuse("is there twice");
    match name {
        "endpoint" => once(&mut address.endpoint, parse_endpoint(&value).map_err(|why| refuse(&why))?, twice),
        "region" => match value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            true => once(&mut address.region, value, twice),
            false => Err(refuse("is not a region such as eu-central-1")),
        },
        "path_style" => match value.as_str() {
            "true" => once(&mut address.path_style, true, twice),
            "false" => once(&mut address.path_style, false, twice),
            _ => Err(refuse("is neither true nor false")),
        },
        _ => match value.chars().any(char::is_control) {
            false => once(&mut address.profile, value, twice),
            true => Err(refuse("is not the name of a profile")),
        },
    }
}

fn once<T>(place: &mut Option<T>, value: T, twice: impl FnOnce() -> String) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(twice()),
    }
}

/// Without its last slash and with a host in lower case: a marker names the repository by it, so there is one way
/// to write it.
fn parse_endpoint(text: &str) -> Result<String, String> {
    let Some((scheme @ ("http" | "https"), rest)) = text.split_once("://") else {
        return Err("does not begin with http:// or https://".to_owned());
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err("names a user, which belongs below `s3`".to_owned());
    }
    if authority.contains(['/', '?', '#']) {
        return Err(format!("is `{text}`, and after the host and its port nothing may follow"));
    }
    let (host, port) = host::split_port(authority);
    if port.is_some_and(|port| host::port(port).is_none()) {
        return Err(format!("is `{text}`, which ends in something else than a port"));
    }
    match host::is_host(host) {
        true => Ok(format!("{scheme}://{}", authority.to_ascii_lowercase())),
        false => Err(format!("is `{text}`, which has no host's name or address")),
    }
}

impl fmt::Display for S3Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        let path_style = self.path_style.map(|path_style| path_style.to_string());
        let values = [&self.endpoint, &self.region, &path_style, &self.profile];
        let mut separator = '?';
        for (name, value) in PARAMETERS.into_iter().zip(values) {
            if let Some(value) = value {
                write!(f, "{separator}{name}={}", percent::encode(value, "%&#"))?;
                separator = '&';
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::repository_url::RepositoryUrl;

    fn parsed(text: &str) -> S3Address {
        match text.parse().unwrap() {
            RepositoryUrl::S3(address) => *address,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_read_back_as_written() {
        for text in [
            "s3://bucket",
            "s3://my.bucket-1/wiki/of_the=team+x@y",
            "s3://bucket/wiki?region=eu-central-1",
            "s3://bucket/wiki?endpoint=http://127.0.0.1:9000&region=x&path_style=false&profile=a b%26c",
            "s3://bucket?endpoint=https://[::1]:9000",
        ] {
            assert_eq!(text.parse::<RepositoryUrl>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn each_part_is_found() {
        let address = parsed(
            "s3://bucket/a/b/?path_style=true&endpoint=https%3A%2F%2FS3.Example.org/&region=r&profile=p",
        );
        let expected = S3Address {
            bucket: "bucket".into(),
            prefix: "a/b".into(),
            endpoint: Some("https://s3.example.org".into()),
            region: Some("r".into()),
            path_style: Some(true),
            profile: Some("p".into()),
        };
        assert_eq!(address, expected);
        assert_eq!(parsed("s3://bucket/").prefix, "");
    }

    #[test]
    fn the_same_place_by_another_way_is_the_same_place() {
        let url = |text: &str| text.parse::<RepositoryUrl>().unwrap();
        assert!(url("s3://bucket/a?region=x").is_same_place(&url("s3://bucket/a/?profile=p")));
        assert!(!url("s3://bucket/a").is_same_place(&url("s3://bucket/b")));
        assert!(!url("s3://bucket").is_same_place(&url("s3://bucket?endpoint=http://host")));
        assert!(!url("s3://bucket").is_same_place(&url("file:///bucket")));
    }

    #[test]
    fn what_is_no_bucket_or_prefix_is_explained() {
        let long = format!("s3://bucket/{}", vec!["x".repeat(150); 6].join("/"));
        for (text, part) in [
            ("s3://", "3 to 63 characters"),
            ("s3:///x", "3 to 63 characters"),
            ("s3://My-Bucket/x", "lower-case"),
            ("s3://my_bucket", "lower-case"),
            ("s3://-bucket", "begins and ends"),
            ("s3://bucket.", "begins and ends"),
            ("s3://a..b", "two dots"),
            ("s3://10.0.0.1/x", "IP address"),
            ("s3://bucket//x", "is absolute"),
            ("s3://bucket/a//b", "empty component"),
            ("s3://bucket/../b", "component `.` or `..`"),
            ("s3://bucket/a b", "printable ASCII"),
            ("s3://bucket/ä", "printable ASCII"),
            ("s3://bucket/a#b", "cannot have"),
            ("s3://bucket/a%20b", "cannot have"),
            (&long, "longer than 800"),
        ] {
            let error = text.parse::<RepositoryUrl>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn parameters_are_known_and_checked() {
        for (parameters, part) in [
            ("regoin=x", "did you mean `region`?"),
            ("secret=hunter2", "no parameter `secret`"),
            ("secret_access_key=hunter2", "below `s3`"),
            ("region=", "`region` of the s3:// address has no value"),
            ("region", "has no value"),
            ("region=a&region=b", "is there twice"),
            ("region=a/b", "not a region"),
            ("path_style=yes", "neither true nor false"),
            ("profile=a%0Ab", "not the name of a profile"),
            ("endpoint=host:9000", "begin with http:// or https://"),
            ("endpoint=ftp://host", "begin with http:// or https://"),
            ("endpoint=http://me:hunter2@host", "names a user"),
            ("endpoint=http://host/path", "nothing may follow"),
            ("endpoint=http://host:99999", "than a port"),
            ("endpoint=http://host:", "than a port"),
            ("endpoint=http://", "no host's name"),
            ("endpoint=http://a b", "no host's name"),
            ("endpoint=http://[::zz]:1", "no host's name"),
        ] {
            let error = format!("s3://bucket/x?{parameters}").parse::<RepositoryUrl>().unwrap_err();
            assert!(error.contains(part) && !error.contains("hunter2"), "{parameters}: {error}");
        }
    }

    #[test]
    fn keys_in_an_address_are_refused_and_not_shown() {
        for text in ["s3://AKIA:hunter2@bucket/x", "s3://AKIA:hunter2/x@bucket", "s3://AKIA@bucket/x"] {
            let error = text.parse::<RepositoryUrl>().unwrap_err();
            assert!(error.contains("s3.secret_access_key_file"), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("AKIA"), "{error}");
        }
    }
}
