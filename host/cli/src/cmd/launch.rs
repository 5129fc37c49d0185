//! The one place where the command line meets the mesh node: it starts one ([`launch`]), and makes runs that reach beyond
//! this machine ([`run`]). Everything around it (settings, the control socket, the daemon, what is shown) is elsewhere and
//! knows the node by `sykli_node::control` alone. Called by `node.rs` and `run.rs`.

use sykli_node::control::{Door, Launched};
use sykli_node::node::Node;
use sykli_node::settings::MeshSettings;

use super::{Context, Loaded};
use crate::args::{ReachArgs, RunArgs};
use crate::error::{CliError, Outcome};

/// Starts this machine's node. What is asked at `door` (`Door::serve`, inside the node's runtime) and in the foreground
/// comes to the node's loop as one stream of requests.
///
/// # Errors
/// Where it cannot be started.
pub(super) fn launch(
    _node: Node,
    _settings: MeshSettings,
    _door: Door,
) -> Result<Launched, CliError> {
    // LEAD, plug in here: `meshnode::MeshNode::start(…)`.
    Err(absent("a mesh node"))
}

/// The run, where `args` want more than a run of this process on this machine; nothing otherwise.
pub(super) fn run(_context: &Context, args: &RunArgs, _loaded: &Loaded) -> Option<Outcome> {
    let ReachArgs {
        mesh,
        steal,
        resume,
        detach,
    } = args.reach;
    // LEAD, and here: `--mesh`, `--steal` and `--resume` through the mesh node, `--detach` through `control::Client::submit`.
    (mesh || steal || resume || detach).then(|| Err(absent("runs beyond this process")))
}

fn absent(what: &str) -> CliError {
    CliError::usage(
        "node::not-built",
        format!("this build of sykli is without {what}"),
    )
    .hint("use a build that has a mesh, or leave --mesh, --resume and --detach away")
}
