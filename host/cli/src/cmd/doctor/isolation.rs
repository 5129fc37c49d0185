//! What `doctor` says of the processes that tasks of others run in: one is started, asked what it could give up, and has
//! tried each way out. Only looks. Called by [`super`].

use sykli_node::isolation::{Probed, Program, probe};

use super::{check, ok};
use crate::error::plain_text;
use crate::render::json::{Check, CheckState};

/// See the module.
pub(super) fn check_isolation() -> Check {
    match probe(&Program::this()) {
        Ok(probed) => said(&probed),
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

fn said(probed: &Probed) -> Check {
    let (given_up, open) = (&probed.given_up, plain_text(&probed.open.join(", ")));
    let missing = given_up.missing();
    match (missing.as_slice(), open.as_str()) {
        ([], "") => ok(
            "isolation",
            format!(
                "tasks of other nodes run in processes with limits, no new privileges, an empty network, landlock {} and a \
                 filter of system calls; one tried each way out, and all are closed",
                given_up.landlock
            ),
        ),
        ([], open) => check(
            "isolation",
            CheckState::Failed,
            format!("a process that has given up everything can still {open}"),
            Some(
                "take no tasks of other nodes (consent.mode = \"never\") and report this: it should be impossible",
            ),
        ),
        (missing, open) => {
            let still = match open {
                "" => "every way out was tried and is closed all the same".to_owned(),
                open => format!("one tried, and can still {open}"),
            };
            check(
                "isolation",
                CheckState::Warning,
                format!(
                    "tasks of other nodes run in processes of their own, without {}: this system does not grant it; {still}",
                    plain_text(&missing.join(", "))
                ),
                Some(
                    "a newer kernel, user namespaces or a container with fewer restrictions would; until then take tasks of \
                     nodes that you know, or none (consent.isolation = \"required\")",
                ),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sykli_node::isolation::Confinement;

    fn probed(given_up: Confinement, open: &[&str]) -> Probed {
        let open = open.iter().map(|&way| way.to_owned()).collect();
        Probed { given_up, open }
    }

    fn everything() -> Confinement {
        Confinement {
            limits: true,
            no_new_privileges: true,
            no_network: true,
            landlock: 7,
            system_calls: true,
            ..Confinement::default()
        }
    }

    #[test]
    fn what_is_not_granted_is_named_with_its_reason() {
        let nothing = said(&probed(Confinement::default(), &["connect"]));
        assert_eq!(nothing.state, CheckState::Warning);
        for what in [
            "limits",
            "privileges",
            "network",
            "landlock",
            "system calls",
            "can still connect",
        ] {
            assert!(nothing.message.contains(what), "{}", nothing.message);
        }
        let all = said(&probed(everything(), &[]));
        assert_eq!((all.state, all.hint), (CheckState::Ok, None));
        let why = "Operation not permitted".to_owned();
        let no_network = Confinement {
            no_network: false,
            not_granted: [("no_network".to_owned(), why)].into(),
            ..everything()
        };
        let no_network = said(&probed(no_network, &[])).message;
        let expected = "without an empty network (Operation not permitted):";
        assert!(no_network.contains(expected), "{no_network}");
    }

    #[test]
    fn a_way_out_that_should_be_closed_is_a_failure() {
        let open = said(&probed(everything(), &["read a file"]));
        assert_eq!(open.state, CheckState::Failed);
        assert!(
            open.message.contains("can still read a file"),
            "{}",
            open.message
        );
    }
}
