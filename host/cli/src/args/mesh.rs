//! The grammar of `id`, `mesh` and `peers`. Part of [`super`]; as there, no value is interpreted.

use clap::{Args, Subcommand, ValueEnum};

use super::OutputArgs;

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MeshCommand {
    /// Make a mesh, with this node as its first member and issuer
    Create {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print a ticket that lets one more node in
    Invite(InviteArgs),
    /// Join a mesh with a ticket
    Join(JoinArgs),
    /// Leave the mesh; the identity stays
    Leave {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Let a peer in no more, wherever the news has come; needs the mesh key
    Revoke(RevokeArgs),
    /// Show this node's membership
    Show {
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// What a ticket can give beside membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InvitedRole {
    /// May invite others; needs the mesh key
    Issuer,
    /// Others may be reached through it
    Relay,
}

/// The profiles, as a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ceiling {
    /// No ceiling
    Lan,
    /// At most wan
    Wan,
    /// At most mobile
    Mobile,
    /// At most hostile
    Hostile,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The ticket is one line on standard output; who has it can join, once. In a terminal a QR code of it \
    is shown as well."
)]
pub(crate) struct InviteArgs {
    /// How long the ticket can be used, as in 30m, 24h; 30 days at most
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub(crate) expires: String,
    /// Where this node can be reached, as a multiaddress; may be repeated
    #[arg(long = "address", value_name = "ADDRESS")]
    pub(crate) addresses: Vec<String>,
    /// What the new node may be beside a member; may be repeated
    #[arg(long = "role", value_enum, value_name = "ROLE")]
    pub(crate) roles: Vec<InvitedRole>,
    /// The most generous profile that the new node may run under
    #[arg(long, value_enum, value_name = "PROFILE", default_value = "lan")]
    pub(crate) ceiling: Ceiling,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// The ticket, as `sykli mesh invite` printed it
    pub(crate) ticket: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The peer's id: 12D3Koo…
    #[arg(required_unless_present = "everyone")]
    pub(crate) peer: Option<String>,
    /// Void every certificate given so far but this node's own
    #[arg(long, conflicts_with = "peer")]
    pub(crate) everyone: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `peers` alone lists them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct PeersArgs {
    #[command(subcommand)]
    pub(crate) command: Option<PeersCommand>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeersCommand {
    /// The peers that the running node is connected to
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Let a peer in without a certificate; takes a block back
    Trust(PeerArgs),
    /// Let a peer in no more, whatever its certificate says
    Block(PeerArgs),
    /// Measure the way to a peer
    Ping(PeerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// The peer's id, as `sykli id` prints it there: 12D3Koo…
    pub(crate) peer: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl MeshCommand {
    /// How its result is to be written.
    pub(crate) fn output(&self) -> OutputArgs {
        match self {
            MeshCommand::Create { output }
            | MeshCommand::Leave { output }
            | MeshCommand::Show { output } => *output,
            MeshCommand::Invite(args) => args.output,
            MeshCommand::Join(args) => args.output,
            MeshCommand::Revoke(args) => args.output,
        }
    }
}

impl PeersArgs {
    /// How its result is to be written.
    pub(crate) fn output(&self) -> OutputArgs {
        match &self.command {
            None => self.output,
            Some(PeersCommand::List { output }) => *output,
            Some(
                PeersCommand::Trust(args) | PeersCommand::Block(args) | PeersCommand::Ping(args),
            ) => args.output,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use clap::Parser;

    fn peers(line: &[&str]) -> PeersArgs {
        match Cli::try_parse_from([&["sykli", "peers"], line].concat())
            .unwrap()
            .command
        {
            Command::Peers(args) => args,
            other => panic!("not peers: {other:?}"),
        }
    }

    #[test]
    fn peers_alone_lists_them() {
        assert!(peers(&[]).command.is_none());
        assert!(peers(&["--json"]).output().json);
        let listed = peers(&["list", "--json"]);
        assert!(matches!(listed.command, Some(PeersCommand::List { .. })));
        assert!(listed.output().json);
        assert!(peers(&["ping", "12D3", "--json"]).output().json);
    }

    #[test]
    fn everyone_or_one_peer_is_revoked() {
        let parsed = |line: &[&str]| {
            Cli::try_parse_from([&["sykli", "mesh", "revoke"], line].concat()).is_ok()
        };
        assert!(parsed(&["12D3"]) && parsed(&["--everyone"]));
        assert!(!parsed(&[]) && !parsed(&["12D3", "--everyone"]));
    }
}
