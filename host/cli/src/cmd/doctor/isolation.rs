//! What `doctor` says of the processes that tasks of others run in: one is started, and asked what it could give up. Only
//! looks. Called by [`super`].

use sykli_node::isolation::{Confinement, Program, probe};

use super::{check, ok};
use crate::error::plain_text;
use crate::render::json::{Check, CheckState};

/// See the module.
pub(super) fn check_isolation() -> Check {
    match probe(&Program::this()) {
        Ok(given_up) => said(given_up),
        Err(error) => check(
            "isolation",
            CheckState::Failed,
            format!("tasks of other nodes cannot run: {}", plain_text(&error)),
            Some(
                "a process must be able to start this program again: is /proc there, and is there room for processes?",
            ),
        ),
    }
}

fn said(given_up: Confinement) -> Check {
    let missing = given_up.missing();
    if missing.is_empty() {
        let what = format!(
            "tasks of other nodes run in processes with limits, no new privileges, an empty network, landlock {} and a \
             filter of system calls",
            given_up.landlock
        );
        return ok("isolation", what);
    }
    check(
        "isolation",
        CheckState::Warning,
        format!(
            "tasks of other nodes run in processes of their own, without {}: this system does not grant it",
            missing.join(", ")
        ),
        Some(
            "a newer kernel, user namespaces or a container with fewer restrictions would; until then take tasks of nodes that you know",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_granted_is_named() {
        let nothing = said(Confinement::default());
        assert_eq!(nothing.state, CheckState::Warning);
        for what in [
            "limits",
            "privileges",
            "network",
            "landlock",
            "system calls",
        ] {
            assert!(nothing.message.contains(what), "{}", nothing.message);
        }
        let all = said(Confinement {
            limits: true,
            no_new_privileges: true,
            no_network: true,
            landlock: 7,
            system_calls: true,
        });
        assert_eq!((all.state, all.hint), (CheckState::Ok, None));
        let no_network = said(Confinement {
            limits: true,
            no_new_privileges: true,
            no_network: false,
            landlock: 7,
            system_calls: true,
        });
        assert!(no_network.message.contains("without an empty network:"));
    }
}
