//! `sykli peers`: whom this user trusts or blocks beyond any mesh, and, of a running node, who is connected.

use std::path::Path;

use sykli_core::id::NodeId;
use sykli_core::units;
use sykli_node::control::Client;
use sykli_node::identity;
use sykli_node::membership::{MembershipError, Peers};

use super::Context;
use super::mesh::{identity_error, membership_error};
use super::node::control_error;
use crate::args::PeerArgs;
use crate::error::{Exit, Outcome};
use crate::render::json::mesh::PeerListsDoc;
use crate::render::{self, escape};

/// `peers trust`.
pub(crate) fn trust(context: &Context, args: &PeerArgs) -> Outcome {
    change(
        context,
        args,
        Peers::trust,
        "trusted",
        "was trusted already",
    )
}

/// `peers block`.
pub(crate) fn block(context: &Context, args: &PeerArgs) -> Outcome {
    change(
        context,
        args,
        Peers::block,
        "blocked",
        "was blocked already",
    )
}

fn change(
    context: &Context,
    args: &PeerArgs,
    change: fn(&Path, NodeId) -> Result<bool, MembershipError>,
    done: &str,
    unchanged: &str,
) -> Outcome {
    let data = &context.resolved.settings.dirs.data;
    let node = identity::parse(&args.peer).map_err(|error| identity_error(&error))?;
    let changed = change(data, node).map_err(|error| membership_error(&error))?;
    let peer = identity::show(node);
    if !context.format().is_machine() {
        let what = if changed { done } else { unchanged };
        render::err(&format!("{peer} {what}\n"));
        return Ok(Exit::Passed);
    }
    let lists = Peers::open(data).map_err(|error| membership_error(&error))?;
    let doc = PeerListsDoc {
        schema: "sykli.peer-lists/1",
        peer,
        changed,
        trusted: lists.trusted.into_iter().map(identity::show).collect(),
        blocked: lists.blocked.into_iter().map(identity::show).collect(),
    };
    render::document(&doc, context.format());
    Ok(Exit::Passed)
}

/// `peers list`: the nodes that the running one knows.
pub(crate) fn list(context: &Context) -> Outcome {
    let doc = client(context)
        .peers()
        .map_err(|error| control_error(&error))?;
    if context.format().is_machine() {
        render::document(&doc, context.format());
        return Ok(Exit::Passed);
    }
    for peer in &doc.peers {
        let there = match (peer.connected, peer.hidden) {
            (true, _) => "connected",
            (false, true) => "away (hidden)",
            (false, false) => "away",
        };
        let rtt = peer.rtt_ms.map_or(String::new(), |ms| format!("  {ms} ms"));
        let address = peer.addresses.first().map_or("", String::as_str);
        render::out(&format!(
            "{}  {}  {there} for {}  {}{rtt}\n",
            escape::clean(&peer.name),
            peer.id,
            units::human_duration_ms(peer.for_ms),
            escape::clean(address),
        ));
    }
    if doc.peers.is_empty() {
        render::err("no other node is known here\n");
    }
    Ok(Exit::Passed)
}

/// `peers ping`: how long a peer takes to answer.
pub(crate) fn ping(context: &Context, args: &PeerArgs) -> Outcome {
    let pong = client(context)
        .ping(&args.peer)
        .map_err(|error| control_error(&error))?;
    if context.format().is_machine() {
        render::document(&pong, context.format());
    } else {
        let relayed = if pong.relayed { ", relayed" } else { "" };
        let ms = pong.rtt_us / 1000;
        let rest = pong.rtt_us % 1000;
        render::out(&format!("{}  {ms}.{rest:03} ms{relayed}\n", pong.peer));
    }
    Ok(Exit::Passed)
}

fn client(context: &Context) -> Client {
    Client::new(&context.resolved.settings.dirs.runtime)
}
