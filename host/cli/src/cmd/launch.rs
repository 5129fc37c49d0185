//! The one place where the command line meets the mesh node: it starts one that stays ([`launch`]), or one for as long as
//! a run lasts ([`join`]). Everything around it (settings, the control socket, the daemon, what is shown) is elsewhere and
//! knows the node by `sykli_node::control` alone. Called by `node.rs`, `run.rs` and `mesh.rs`.

use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use sykli_core::id::RunId;
use sykli_core::machine::Mode;
use sykli_core::policy::ConsentMode;
use sykli_node::control::{Door, Launched, Notice, notices, requests};
use sykli_node::membership::{Joined, MembershipError, Ticket};
use sykli_node::meshnode::{MeshNode, MeshNodeError};
use sykli_node::node::Node;
use sykli_node::run::Reach;
use sykli_node::settings::MeshSettings;

use super::daemon::Daemon;
use super::node::control_error;
use super::{Context, Loaded, node_error};
use crate::args::ReachArgs;
use crate::config::mesh;
use crate::error::{CliError, plain_text};

/// How long a node may take to listen.
const LISTENING: Duration = Duration::from_secs(2);
/// How long a run waits for the first of the nodes that it knows. What can run here begins after that in any case.
const FIRST_PEER: Duration = Duration::from_millis(2_000);
/// How long it then waits for others that are as near.
const MORE_PEERS: Duration = Duration::from_millis(200);

/// Starts this machine's node. What is asked at `door` (`Door::serve`, inside the node's runtime) and in the foreground
/// comes to the node's loop as one stream of requests.
///
/// # Errors
/// Where it cannot be started.
pub(super) fn launch(
    context: &Context,
    settings: MeshSettings,
    door: Door,
) -> Result<Launched, CliError> {
    let (say, heard) = notices();
    let node = context.node()?;
    let listens = !settings.listen.is_empty();
    let mesh_node = MeshNode::start(&node, settings, say.clone()).map_err(|e| failed(&e))?;
    if listens {
        wait_until_listening(&mesh_node);
    }
    let (ask, asked) = requests();
    let runtime = mesh_node.runtime();
    let server = runtime.block_on(async { door.serve(ask.clone()) });
    let server = server.map_err(|error| control_error(&error))?;
    let daemon = Daemon::new(context.clone(), node, &mesh_node, say);
    let serving = runtime.spawn(daemon.serve(asked));
    let join = move || {
        // It fails only by a panic, which has been told.
        let _ = runtime.block_on(async {
            let served = serving.await;
            server.stop().await;
            served
        });
        mesh_node.wait();
    };
    Ok(Launched {
        requests: ask,
        notices: heard,
        join: Box::new(join),
    })
}

/// Where it can be dialled is the first thing that is asked of it.
fn wait_until_listening(node: &MeshNode) {
    let until = Instant::now() + LISTENING;
    while node.mesh().listening().is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A node for as long as one run lasts.
pub(super) struct Present {
    pub(super) reach: Reach,
    node: MeshNode,
    notices: Receiver<Notice>,
}

/// Carries a ticket to its issuer, and joins.
pub(super) fn carry(
    context: &Context,
    data: &Path,
    ticket: &Ticket,
) -> Result<Joined, MembershipError> {
    let settings = mesh(&context.resolved).map_err(|error| MembershipError::Unreached {
        message: error.message.clone(),
    })?;
    sykli_node::meshnode::join(data, ticket, &settings)
}

/// Whether a run is to reach other nodes.
pub(super) fn reaches(args: ReachArgs) -> bool {
    args.mesh || args.detach
}

/// Joins the mesh for one run.
///
/// # Errors
/// Where this node cannot be started, or there is nothing to go on with.
pub(super) fn join(
    context: &Context,
    args: ReachArgs,
    node: &Node,
    loaded: &Loaded,
) -> Result<Present, CliError> {
    let mut settings = mesh(&context.resolved)?;
    // It is gone when the run has ended: whoever gave it work would have lost it then.
    settings.policy.mode = ConsentMode::Never;
    let resume = resumed(node, args, loaded)?;
    let (say, notices) = notices();
    let mesh_node = MeshNode::start(node, settings, say).map_err(|e| failed(&e))?;
    let reach = Reach {
        node: mesh_node.handle(),
        mode: mode(args),
        resume,
    };
    let joined = Present {
        reach,
        node: mesh_node,
        notices,
    };
    if joined.node.knows_somebody() {
        joined.wait_for_peers();
    }
    Ok(joined)
}

/// How far these flags want a run to reach.
pub(super) fn mode(args: ReachArgs) -> Mode {
    match (args.mesh, args.steal) {
        (_, true) => Mode::Swarm,
        (true, false) => Mode::Mesh,
        (false, false) => Mode::Solo,
    }
}

/// The run that is gone on with.
pub(super) fn resumed(
    node: &Node,
    args: ReachArgs,
    loaded: &Loaded,
) -> Result<Option<RunId>, CliError> {
    if !args.resume {
        return Ok(None);
    }
    let journal = node.journal().map_err(|e| node_error(&e, Some(loaded)))?;
    let path = std::path::absolute(&loaded.at.path).unwrap_or_else(|_| loaded.at.path.clone());
    let found = journal.last_unfinished(Some(&path));
    found.map(|run| Some(run.id)).ok_or_else(|| {
        CliError::usage(
            "run::nothing-to-resume",
            "no run of this pipeline was interrupted",
        )
        .hint("leave --resume away: what is cached is not run again")
    })
}

impl Present {
    /// Waits until a node is there that was known, and a little for more of them.
    fn wait_for_peers(&self) {
        let mut until = Instant::now() + FIRST_PEER;
        let mut met = false;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match self.notices.recv_timeout(left) {
                Ok(Notice::Up { .. }) if !met => {
                    met = true;
                    until = Instant::now() + MORE_PEERS;
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Leaves the mesh.
    pub(super) fn leave(self) {
        self.node.stop();
    }
}

/// What kept a node from being started.
pub(super) fn failed(error: &MeshNodeError) -> CliError {
    let mut out = CliError::usage(error.code(), plain_text(&error.to_string()));
    out.hints = error.hints();
    out
}
