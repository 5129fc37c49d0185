//! What a node of a mesh is set up with, ready to use: names and addresses are parsed, the profile's row is chosen and
//! changed, the policy is whole.
//!
//! It decides what a valid address, peer id, name and label is, what a node says of itself without being told (its system,
//! architecture and number of cores), where it listens by default, and which settings contradict each other. It never reads
//! a file or a variable and knows no precedence: the command line's `config` does, with the rule that a project may narrow
//! and never widen. Called by the command line, which fills [`MeshSettings`], and read by the mesh node.

use std::collections::BTreeSet;
use std::sync::Arc;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use sykli_core::id::NodeId;
use sykli_core::policy::Policy;
use sykli_core::profile::{Discovery, Profile};
use sykli_core::wire::v1::MAX_LABELS;

use crate::identity;
use crate::isolation::Needed;

/// The longest name of a node, in bytes: it stands in front of lines.
pub const MAX_NODE_NAME_BYTES: usize = 64;
/// The longest label, in bytes, as in a pipeline's `place.labels`.
pub const MAX_LABEL_BYTES: usize = 64;
/// Most addresses of one setting.
pub const MAX_ADDRESSES: usize = 64;
/// Most peers that are trusted by name.
pub const MAX_TRUSTED: usize = 1024;

/// Everything that a mesh node needs to know of its user's wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// What people call it; 1 to [`MAX_NODE_NAME_BYTES`] bytes without control characters.
    pub name: String,
    /// Its profile, with its user's changes.
    pub profile: Profile,
    /// Its labels, [`own_labels`] included.
    pub labels: BTreeSet<Arc<str>>,
    /// What its user allows.
    pub policy: Policy,
    /// What its user wants of the processes that tasks of others run in.
    pub isolation: Needed,
    /// Where it listens; empty for a hidden node.
    pub listen: Vec<Multiaddr>,
    /// Whom it dials when it starts.
    pub known: Vec<Multiaddr>,
    /// Whom it trusts beside the members of its mesh.
    pub trust: BTreeSet<NodeId>,
    /// It says and hears by multicast that it is there.
    pub mdns: bool,
    /// It passes connections on for members that cannot be dialled.
    pub relay_server: bool,
    /// Tasks of its own at once.
    pub slots: u32,
    /// Memory for tasks, in MB.
    pub memory_mb: u64,
}

/// Why settings of a mesh node cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No multiaddr, or none that this node's transports know.
    #[error("`{text}` is no address: {why}")]
    Address {
        /// As written.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// No peer id.
    #[error("`{text}` is no peer id")]
    Peer {
        /// As written.
        text: String,
    },
    /// No label.
    #[error("`{text}` is no label: 1 to {MAX_LABEL_BYTES} letters, digits or `-_.=/`")]
    Label {
        /// As written.
        text: String,
    },
    /// No name of a node.
    #[error("`{text}` is no node's name: 1 to {MAX_NODE_NAME_BYTES} bytes, no control characters")]
    Name {
        /// As written, without what a terminal could obey.
        text: String,
    },
    /// More than there is room for.
    #[error("{what} are at most {most}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// A hidden node listens on nothing.
    #[error("a hidden node listens on nothing, but {what}")]
    Hidden {
        /// What contradicts it.
        what: &'static str,
    },
}

impl SettingsError {
    /// Stable name of the kind of error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            SettingsError::Address { .. } => "settings::address",
            SettingsError::Peer { .. } => "settings::peer",
            SettingsError::Label { .. } => "settings::label",
            SettingsError::Name { .. } => "settings::name",
            SettingsError::TooMany { .. } => "settings::too-many",
            SettingsError::Hidden { .. } => "settings::hidden",
        }
    }

    /// A way out.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            SettingsError::Address { .. } => {
                "as in /ip4/192.168.1.42/udp/4001/quic-v1 or /ip4/0.0.0.0/tcp/4001; `sykli node status` shows a node's"
            }
            SettingsError::Peer { .. } => "`sykli id`, on that machine, prints it: 12D3Koo…",
            SettingsError::Label { .. } => "as in labels = [\"gpu\", \"site=berlin\"]",
            SettingsError::Name { .. } => "as in name = \"dave-macbook\"",
            SettingsError::TooMany { .. } => "keep those that matter",
            SettingsError::Hidden { .. } => {
                "set node.discovery = \"known\" (or a profile that is found: lan, wan), or leave that away"
            }
        }
    }
}

impl MeshSettings {
    /// These settings, if they are valid and nothing in them contradicts something else.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn checked(self) -> Result<MeshSettings, SettingsError> {
        check_name(&self.name)?;
        for label in &self.labels {
            check_label(label)?;
        }
        at_most("a node's labels", self.labels.len(), MAX_LABELS)?;
        at_most("addresses to listen on", self.listen.len(), MAX_ADDRESSES)?;
        at_most("known addresses", self.known.len(), MAX_ADDRESSES)?;
        at_most("trusted peers", self.trust.len(), MAX_TRUSTED)?;
        let contradiction = [
            (!self.listen.is_empty(), "mesh.listen names addresses"),
            (self.mdns, "mesh.mdns is on"),
            (self.relay_server, "mesh.relay_server is on"),
        ];
        match contradiction.into_iter().find(|(is, _)| *is) {
            Some((_, what)) if self.profile.is_hidden() => Err(SettingsError::Hidden { what }),
            _ => Ok(self),
        }
    }
}

fn at_most(what: &'static str, there: usize, most: usize) -> Result<(), SettingsError> {
    if there > most {
        return Err(SettingsError::TooMany { what, most });
    }
    Ok(())
}

/// Whether `text` can be a node's name.
///
/// # Errors
/// [`SettingsError::Name`] where not.
pub fn check_name(text: &str) -> Result<(), SettingsError> {
    let good = !text.trim().is_empty()
        && text.len() <= MAX_NODE_NAME_BYTES
        && !text.chars().any(char::is_control);
    if good {
        return Ok(());
    }
    let shown = text
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_NODE_NAME_BYTES);
    Err(SettingsError::Name {
        text: shown.collect(),
    })
}

/// Whether `text` can be a label, by the rule that pipelines have for `place.labels`.
///
/// # Errors
/// [`SettingsError::Label`] where not.
pub fn check_label(text: &str) -> Result<(), SettingsError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.=/".contains(&b);
    if !text.is_empty() && text.len() <= MAX_LABEL_BYTES && text.bytes().all(good) {
        return Ok(());
    }
    Err(SettingsError::Label {
        text: text.chars().take(MAX_LABEL_BYTES).collect(),
    })
}

/// What a node says of itself without being told: its system, its architecture and its cores, as in `linux`, `x86_64`
/// and `cpus=8`.
#[must_use]
pub fn own_labels() -> BTreeSet<Arc<str>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    [
        Arc::from(std::env::consts::OS),
        Arc::from(std::env::consts::ARCH),
        Arc::from(format!("cpus={cores}")),
    ]
    .into()
}

/// Where a node listens whose user says nothing: on every address, at ports that the system chooses; a hidden one nowhere.
#[must_use]
pub fn default_listen(discovery: Discovery) -> &'static [&'static str] {
    match discovery {
        Discovery::Multicast | Discovery::Known => {
            &["/ip4/0.0.0.0/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0"]
        }
        Discovery::Hidden => &[],
    }
}

fn bad_address(text: &str, why: &str) -> SettingsError {
    SettingsError::Address {
        text: text.to_owned(),
        why: why.to_owned(),
    }
}

/// An address to dial: a host, then TCP or QUIC, perhaps a peer id, perhaps through a relay.
///
/// # Errors
/// [`SettingsError::Address`] where it is none, or none that this node's transports know.
pub fn parse_address(text: &str) -> Result<Multiaddr, SettingsError> {
    let address: Multiaddr = text
        .parse()
        .map_err(|error| bad_address(text, &format!("{error}")))?;
    let host = address.iter().next();
    let is_host = matches!(
        host,
        Some(
            Protocol::Ip4(_)
                | Protocol::Ip6(_)
                | Protocol::Dns(_)
                | Protocol::Dns4(_)
                | Protocol::Dns6(_)
        )
    );
    if !is_host {
        return Err(bad_address(
            text,
            "it begins with /ip4, /ip6, /dns, /dns4 or /dns6",
        ));
    }
    let transport = |protocol| matches!(protocol, Protocol::Tcp(_) | Protocol::QuicV1);
    if !address.iter().any(transport) {
        return Err(bad_address(
            text,
            "it names neither /tcp nor /udp/…/quic-v1",
        ));
    }
    Ok(address)
}

/// An address to listen on: an IP address of this machine, or the one that stands for all, then TCP or QUIC.
///
/// # Errors
/// [`SettingsError::Address`] where it is none.
pub fn parse_listen(text: &str) -> Result<Multiaddr, SettingsError> {
    let address = parse_address(text)?;
    let mut parts = address.iter();
    let ip = matches!(parts.next(), Some(Protocol::Ip4(_) | Protocol::Ip6(_)));
    let transport = matches!(
        (parts.next(), parts.next(), parts.next()),
        (Some(Protocol::Tcp(_)), None, None)
            | (Some(Protocol::Udp(_)), Some(Protocol::QuicV1), None)
    );
    if ip && transport {
        Ok(address)
    } else {
        Err(bad_address(
            text,
            "to listen it is /ip4/…/tcp/PORT or /ip4/…/udp/PORT/quic-v1",
        ))
    }
}

/// A node as people name it: a libp2p peer id that holds an Ed25519 key (`12D3Koo…`).
///
/// # Errors
/// [`SettingsError::Peer`] where it is none, or one of another kind of key.
pub fn parse_peer(text: &str) -> Result<NodeId, SettingsError> {
    identity::parse(text).map_err(|_| SettingsError::Peer {
        text: text.chars().take(80).collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use sykli_core::profile::ProfileKind;

    fn settings(kind: ProfileKind) -> MeshSettings {
        let profile = Profile::of(kind);
        let listen = default_listen(profile.discovery).iter();
        MeshSettings {
            name: "here".to_owned(),
            listen: listen.map(|text| parse_listen(text).unwrap()).collect(),
            mdns: profile.discovery == Discovery::Multicast,
            profile,
            labels: own_labels(),
            policy: Policy::default(),
            isolation: Needed::default(),
            known: Vec::new(),
            trust: BTreeSet::new(),
            relay_server: false,
            slots: 1,
            memory_mb: 1000,
        }
    }

    #[test]
    fn every_profiles_defaults_are_valid() {
        for kind in ProfileKind::ALL {
            let checked = settings(kind).checked().unwrap();
            assert_eq!(checked.listen.is_empty(), checked.profile.is_hidden());
        }
        assert!(own_labels().contains(std::env::consts::OS));
    }

    #[test]
    fn a_hidden_node_that_wants_to_be_found_is_refused() {
        let hidden = settings(ProfileKind::Mobile);
        let listening = MeshSettings {
            listen: settings(ProfileKind::Lan).listen,
            ..hidden.clone()
        };
        assert_eq!(listening.checked().unwrap_err().code(), "settings::hidden");
        let relay = MeshSettings {
            relay_server: true,
            ..hidden
        };
        assert!(relay.checked().unwrap_err().to_string().contains("relay"));
    }

    #[test]
    fn addresses_are_those_that_the_transports_know() {
        for good in [
            "/ip4/10.0.0.1/tcp/4001",
            "/dns/example.org/udp/4001/quic-v1",
            "/ip6/::1/udp/1/quic-v1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
        ] {
            parse_address(good).unwrap();
        }
        for bad in ["", "10.0.0.1:4001", "/ip4/10.0.0.1", "/tcp/1", "/unix/x"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
        for bad in ["/dns/a.org/tcp/1", "/ip4/10.0.0.1/tcp/1/ws"] {
            assert!(parse_listen(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_peer_id_is_a_key_and_nothing_else_is() {
        let keys = libp2p::identity::Keypair::generate_ed25519();
        let id = keys.public().to_peer_id().to_string();
        let expected = keys.public().try_into_ed25519().unwrap().to_bytes();
        assert_eq!(parse_peer(&id).unwrap(), NodeId(expected));
        for bad in [
            "",
            "12D3",
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
            "é",
        ] {
            assert!(parse_peer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_labels_are_plain_and_bounded() {
        check_name("Dave's Mac – büro").unwrap();
        for bad in ["", "  ", "a\u{1b}[2J", &"x".repeat(65)] {
            let error = check_name(bad).unwrap_err();
            assert!(!error.to_string().contains('\u{1b}'));
        }
        check_label("site=berlin").unwrap();
        for bad in ["", "a b", "ü", &"x".repeat(65)] {
            assert!(check_label(bad).is_err(), "{bad}");
        }
        let many = MeshSettings {
            labels: (0..65).map(|n| Arc::from(format!("l{n}"))).collect(),
            ..settings(ProfileKind::Lan)
        };
        assert_eq!(many.checked().unwrap_err().code(), "settings::too-many");
    }
}
