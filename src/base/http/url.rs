//! Addresses of requests: `http://host:port/path?query` and `https://…`. Path and query may hold tokens, so they
//! are never shown.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
    tls: bool,
}

impl Url {
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.tls { 443 } else { 80 })
    }

    /// For messages: `https://example.org:443`.
    pub fn place(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.uri.host().unwrap_or_default(), self.port())
    }

    /// Where a redirect leads that stands in an answer of this address: a whole address, or what is put in the place
    /// of a part of this one.
    pub fn redirected(&self, location: &str) -> Result<Self, String> {
        let location = location.trim();
        let (scheme, authority) = (if self.tls { "https" } else { "http" }, self.authority());
        if location.contains("://") {
            return location.parse();
        }
        if let Some(rest) = location.strip_prefix("//") {
            return format!("{scheme}://{rest}").parse();
        }
        let path = match location.chars().next() {
            Some('/') => location.to_owned(),
            Some('?') => format!("{}{location}", self.uri.path()),
            _ => {
                let (directory, _) = self.uri.path().rsplit_once('/').unwrap_or_default();
                format!("{directory}/{location}")
            }
        };
        format!("{scheme}://{authority}{path}").parse()
    }

    /// Whether what is told to the one host may be told to the other.
    pub fn is_same_origin(&self, other: &Self) -> bool {
        let same_host = self.host().eq_ignore_ascii_case(other.host());
        same_host && (self.tls, self.port()) == (other.tls, other.port())
    }

    /// Host and port as they were written.
    pub(super) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// Path and query.
    pub(super) fn target(&self) -> &str {
        self.uri.path_and_query().map_or("/", |target| target.as_str())
    }
}

impl FromStr for Url {
    type Err = String;

    /// Errors do not show the address.
    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri =
            text.trim().parse().map_err(|_| "it is not an address such as https://example.org/path")?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("it begins with neither http:// nor https://".to_owned()),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err("a user or password in the address is not allowed; send a header instead".to_owned());
        }
        // What follows the host, and the brackets of an IPv6 address, is a port or nothing.
        let host = uri.host().unwrap_or_default();
        let port = authority.strip_prefix(host).unwrap_or_default().strip_prefix(':');
        if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err("its port is not a number from 1 to 65535".to_owned());
        }
        if host.is_empty() {
            return Err("it names no host".to_owned());
        }
        Ok(Self { uri, tls })
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_shown_without_its_path() {
        let url: Url = "https://hooks.example.org/T0/B0/secret?token=secret".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.is_tls()), ("hooks.example.org", 443, true));
        assert_eq!(url.target(), "/T0/B0/secret?token=secret");
        assert_eq!(url.place(), "https://hooks.example.org:443");
        assert_eq!(format!("{url:?}"), url.place());
        let url: Url = "http://[::1]:8080".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.target()), ("::1", 8080, "/"));
        assert_eq!(url.authority(), "[::1]:8080");
    }

    #[test]
    fn redirects_lead_where_they_say() {
        let url: Url = "https://example.org:8443/a/b?q=1".parse().unwrap();
        for (location, target, same) in [
            ("https://other.example.org/c", "https://other.example.org:443/c", false),
            ("//cdn.example.org/c?x", "https://cdn.example.org:443/c?x", false),
            ("/c", "https://example.org:8443/c", true),
            ("c/d", "https://example.org:8443/a/c/d", true),
            ("?q=2", "https://example.org:8443/a/b?q=2", true),
            ("http://example.org:8443/a", "http://example.org:8443/a", false),
        ] {
            let there = url.redirected(location).unwrap();
            assert_eq!(format!("{}{}", there.place(), there.target()), target);
            assert_eq!(url.is_same_origin(&there), same, "{location}");
        }
        assert!(url.redirected("ftp://example.org/").is_err());
        assert!(url.redirected("a b").is_err());
    }

    #[test]
    fn other_addresses_are_refused_without_being_shown() {
        for text in [
            "",
            "example.org/secret",
            "/secret",
            "ftp://example.org/secret",
            "https://user:secret@example.org/",
            "http://:80/secret",
            "http://example.org:/secret",
            "http://example.org:99999/secret",
            "http://exa mple.org/secret",
        ] {
            let error = text.parse::<Url>().err().unwrap_or_else(|| panic!("{text} was taken"));
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
