//! `sykli peers`: whom this user trusts or blocks beyond any mesh, and, of a running node, who is connected.

use std::path::Path;

use sykli_core::id::NodeId;
use sykli_node::identity;
use sykli_node::membership::{MembershipError, Peers};

use super::Context;
use super::mesh::{identity_error, membership_error};
use crate::args::PeerArgs;
use crate::error::{CliError, Exit, Outcome};
use crate::render;
use crate::render::json::mesh::PeerListsDoc;

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

/// `peers list` and `peers ping` ask the node that runs here.
pub(crate) fn no_node() -> CliError {
    CliError::failed("node::not-running", "no sykli node is running here")
        .hint("`sykli node start` starts one")
}
