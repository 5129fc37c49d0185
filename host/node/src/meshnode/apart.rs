//! Where the tasks of others run: made when a node starts, and refused where its user wants more than this system grants. Runs
//! nothing itself. Called by [`super::MeshNode::start`].

use std::sync::Arc;

use sykli_core::policy::ConsentMode;

use super::MeshNodeError;
use crate::isolation::{Isolation, Needed, Program};
use crate::node::Node;
use crate::settings::MeshSettings;

/// Where tasks of others run; with processes kept ready where some may come.
pub(super) fn isolation(
    node: &Node,
    settings: &MeshSettings,
) -> Result<Arc<Isolation>, MeshNodeError> {
    let engine = node.engine().map_err(Box::new)?;
    let cache = &node.settings().dirs.cache;
    let isolation = Isolation::new(engine, cache, Program::this(), settings.isolation);
    let isolation = isolation.map_err(MeshNodeError::Threads)?;
    match (settings.policy.mode, settings.isolation) {
        (ConsentMode::Never, _) => {}
        (_, Needed::BestEffort) => isolation.warm(),
        // Said now, not by giving back each task that somebody sends.
        (_, Needed::Required) => drop(isolation.ready().map_err(MeshNodeError::Isolation)?),
    }
    Ok(Arc::new(isolation))
}
