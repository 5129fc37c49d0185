//! `sykli id`: who this node is to others. Makes the identity where there is none yet.

use super::Context;
use super::mesh::{identity_error, open};
use crate::error::{Exit, Outcome};
use crate::render;
use crate::render::json::mesh::IdDoc;
use sykli_node::identity::{self, Identity};

/// See the module.
pub(crate) fn id(context: &Context) -> Outcome {
    let data = &context.resolved.settings.dirs.data;
    let own = Identity::open(data).map_err(|error| identity_error(&error))?;
    let peer = identity::show(own.node_id());
    if context.format().is_machine() {
        let doc = IdDoc {
            schema: "sykli.id/1",
            peer,
            mesh: open(context)?.mesh().map(identity::show),
        };
        render::document(&doc, context.format());
    } else {
        render::out(&format!("{peer}\n"));
    }
    Ok(Exit::Passed)
}
