//! What `doctor` says of this machine among others: the mesh settings in force, what the machine tells of itself, and
//! whether a node runs here. Only looks and asks; that nothing of it is set up is no fault. Called by [`super`].

use std::time::SystemTime;

use sykli_core::units::human_duration_ms;
use sykli_node::control::api::HostView;
use sykli_node::control::{Client, running};
use sykli_node::host_state::{HostProbe, Roots};

use super::super::{Context, node};
use super::{check, ok};
use crate::config::mesh;
use crate::error::plain_text;
use crate::render::json::{Check, CheckState};

/// See the module.
pub(super) fn checks(context: &Context) -> Vec<Check> {
    let mut checks = vec![settings(context)];
    checks.extend(machine());
    checks.push(daemon(context));
    checks
}

fn settings(context: &Context) -> Check {
    match mesh(&context.resolved) {
        Ok(settings) => {
            let mode = settings.policy.mode.name();
            let listen: Vec<String> = settings.listen.iter().map(ToString::to_string).collect();
            let listen = match listen.as_slice() {
                [] => "nothing".to_owned(),
                some => some.join(" "),
            };
            ok(
                "mesh",
                format!(
                    "{}, profile {}, tick {}, consent {mode}, listens on {listen}",
                    settings.name,
                    settings.profile.kind,
                    human_duration_ms(settings.profile.tick_ms)
                ),
            )
        }
        Err(error) => check(
            "mesh",
            CheckState::Failed,
            error.message.clone(),
            error.hints.first().map(String::as_str),
        ),
    }
}

/// What the policy's conditions can know here. What cannot be told is no obstacle to a task, so its user should know it.
fn machine() -> impl Iterator<Item = Check> {
    let report = HostProbe::new(Roots::system()).look(SystemTime::now());
    let said = node::machine(&HostView::from(&report));
    said.into_iter().map(|(name, said)| {
        if said.starts_with("cannot tell") {
            let hint = "a condition on it in consent.when has no effect here";
            check(name, CheckState::Warning, said, Some(hint))
        } else {
            ok(name, said)
        }
    })
}

fn daemon(context: &Context) -> Check {
    let runtime = &context.resolved.settings.dirs.runtime;
    match running(runtime) {
        Ok(None) => {
            return ok(
                "node",
                "none runs here; `sykli node start` starts one".to_owned(),
            );
        }
        Ok(Some(_)) => {}
        Err(error) => return failed(&error.to_string(), error.hint()),
    }
    match Client::new(runtime).status() {
        Ok(status) => {
            let connected = status.peers.iter().filter(|peer| peer.connected).count();
            ok(
                "node",
                format!(
                    "{} runs (pid {}), {connected} peers connected",
                    status.name, status.pid
                ),
            )
        }
        Err(error) => failed(&error.to_string(), error.hint()),
    }
}

fn failed(message: &str, hint: &str) -> Check {
    check("node", CheckState::Failed, plain_text(message), Some(hint))
}
