//! What one run may use: every bound and every permission, denied unless said here.
//!
//! Plain data. It decides nothing about who deserves what (the caller did) and reads no configuration; the sandbox
//! enforces it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bounds and permissions of one run. The default denies every capability and sets bounds that an ordinary task
/// stays below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Instructions the guest may execute, in wasmtime's fuel units (about one an instruction).
    pub fuel: u64,
    /// Linear memory of the guest in bytes, summed over all its memories.
    pub memory_bytes: u64,
    /// Wall time after which the run is ended. Never a property of the guest: the end is a non-result.
    pub timeout: Duration,
    /// Bytes the guest may have written to its file system at once.
    pub output_bytes: u64,
    /// Files, folders and links the guest may have created at once.
    pub output_entries: u32,
    /// Bytes kept of each of stdout and stderr; what is beyond is counted and dropped.
    pub stdio_bytes: u64,
    /// Bytes of each of stdout and stderr passed on to the observer while the guest runs.
    pub stream_bytes: u64,
    /// Whether clocks show the host's time and sleeping takes it.
    pub clock: bool,
    /// Whether random numbers come from the host's generator.
    pub random: bool,
    /// Hosts that may be connected to. Empty: no network, no name look-ups.
    pub net: Vec<NetRule>,
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            fuel: 1_000_000_000_000,
            memory_bytes: 1 << 30,
            timeout: Duration::from_secs(600),
            output_bytes: 1 << 30,
            output_entries: 100_000,
            stdio_bytes: 1 << 20,
            stream_bytes: 1 << 20,
            clock: false,
            random: false,
            net: Vec::new(),
        }
    }
}

/// One host that a guest may connect to. Written `host`, `host:port`, `1.2.3.4:port` or `[::1]:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NetRule {
    /// A name (compared without case) or the text of an address.
    pub host: String,
    /// The port, or any.
    pub port: Option<u16>,
}

/// Why a text is not a [`NetRule`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NetRuleError {
    /// There is no host before the colon.
    #[error("`{0}` names no host: write `host` or `host:port`")]
    NoHost(String),
    /// What follows the colon is not a port.
    #[error("`{0}` has a bad port: write a number from 1 to 65535")]
    BadPort(String),
    /// The host holds something that no host name or address holds.
    #[error(
        "`{0}` is not a host name or address: write `host` or `host:port`, without scheme, path or wildcard"
    )]
    BadHost(String),
}

impl FromStr for NetRule {
    type Err = NetRuleError;

    fn from_str(text: &str) -> Result<Self, NetRuleError> {
        let (host, port) = split_port(text)?;
        if host.is_empty() {
            return Err(NetRuleError::NoHost(text.to_owned()));
        }
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        let is_name = host.len() <= 253
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if !is_address && !is_name {
            return Err(NetRuleError::BadHost(text.to_owned()));
        }
        let port = match port {
            None => None,
            Some(digits) => match digits.parse::<u16>() {
                Ok(port) if port != 0 => Some(port),
                _ => return Err(NetRuleError::BadPort(text.to_owned())),
            },
        };
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

/// Splits off the port; brackets hold an IPv6 address, which may also stand bare when there is no port.
fn split_port(text: &str) -> Result<(&str, Option<&str>), NetRuleError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest
            .split_once(']')
            .ok_or_else(|| NetRuleError::BadHost(text.to_owned()))?;
        return match after {
            "" => Ok((host, None)),
            _ => after
                .strip_prefix(':')
                .map(|port| (host, Some(port)))
                .ok_or_else(|| NetRuleError::BadPort(text.to_owned())),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => Ok((text, None)),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

impl fmt::Display for NetRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rules_are_read_and_written_back() {
        for (text, host, port) in [
            ("Example.com:443", "example.com", Some(443)),
            ("example.com", "example.com", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]:8080", "::1", Some(8080)),
            ("::1", "::1", None),
        ] {
            let rule: NetRule = text.parse().unwrap();
            assert_eq!((rule.host.as_str(), rule.port), (host, port), "{text}");
            assert_eq!(rule.to_string().parse::<NetRule>().unwrap(), rule);
        }
    }

    #[test]
    fn what_is_not_a_rule_is_refused() {
        for text in [
            "",
            ":80",
            "host:0",
            "host:x",
            "host:70000",
            "http://host/",
            "*.com",
            "[::1",
            "[::1]80",
        ] {
            assert!(text.parse::<NetRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_is_granted_by_default() {
        let grant = Grant::default();
        assert!(!grant.clock && !grant.random && grant.net.is_empty());
    }
}
