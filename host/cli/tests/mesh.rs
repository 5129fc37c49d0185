//! `id`, `mesh` and `peers` as a user meets them: what is printed where, and what two machines make of each other's.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Answer, Home, valid};
use std::os::unix::fs::PermissionsExt;

const ADDRESS: &str = "/ip4/192.168.1.42/udp/4242/quic-v1";

fn passed(answer: Answer) -> String {
    assert_eq!(answer.code, 0, "{}", answer.err);
    answer.out
}

fn refused(answer: &Answer, code: &str) {
    assert_ne!(answer.code, 0, "{}", answer.out);
    assert!(answer.err.contains(code), "{}", answer.err);
    assert!(answer.err.contains("hint:"), "{}", answer.err);
}

fn peer(home: &Home) -> String {
    passed(home.run(&["id"])).trim().to_owned()
}

#[test]
fn an_identity_is_one_line_and_stays() {
    let home = Home::new();
    let id = peer(&home);
    assert!(id.starts_with("12D3Koo"), "{id}");
    assert_eq!(peer(&home), id);
    let document = valid("id", &passed(home.run(&["id", "--json"])));
    assert_eq!(
        (document["peer"].as_str(), document["mesh"].as_str()),
        (Some(id.as_str()), None)
    );
    let key = home.dir.path().join("data/sykli/identity.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = home.run(&["id"]);
    refused(&exposed, "[identity::exposed]");
    assert!(exposed.err.contains("chmod 600"), "{}", exposed.err);
}

#[test]
fn a_mesh_is_made_shown_and_kept() {
    let home = Home::new();
    let before = valid("mesh", &passed(home.run(&["mesh", "show", "--json"])));
    assert!(before["peer"].is_null() && before["membership"].is_null());
    refused(&home.run(&["mesh", "leave"]), "[mesh::not-a-member]");
    let made = home.run(&["mesh", "create"]);
    assert!(made.err.contains("mesh.key"), "{}", made.err);
    let shown = passed(home.run(&["mesh", "show"]));
    assert!(
        shown.contains("roles        member, issuer, relay"),
        "{shown}"
    );
    let document = valid("mesh", &passed(home.run(&["mesh", "show", "--json"])));
    assert_eq!(document["membership"]["holds_mesh_key"], true);
    assert!(document["membership"]["refused"].is_null());
    refused(&home.run(&["mesh", "create"]), "[mesh::already-member]");
    refused(&home.run(&["mesh", "leave"]), "[mesh::holds-mesh-key]");
}

#[test]
fn a_ticket_is_the_one_line_on_stdout() {
    let home = Home::new();
    refused(
        &home.run(&["mesh", "invite", "--address", ADDRESS]),
        "[mesh::not-a-member]",
    );
    passed(home.run(&["mesh", "create"]));
    refused(&home.run(&["mesh", "invite"]), "[mesh::no-address]");
    refused(
        &home.run(&["mesh", "invite", "--address", "here"]),
        "[mesh::not-an-address]",
    );
    let wrong = home.run(&["mesh", "invite", "--address", ADDRESS, "--expires", "soon"]);
    refused(&wrong, "[cli::value]");
    let invited = home.run(&["mesh", "invite", "--address", ADDRESS, "--expires", "30m"]);
    assert!(invited.out.starts_with("sykli1") && invited.out.lines().count() == 1);
    assert!(!invited.err.contains("sykli1"), "{}", invited.err);
    let args = [
        "mesh",
        "invite",
        "--address",
        ADDRESS,
        "--role",
        "relay",
        "--ceiling",
        "wan",
        "--json",
    ];
    let document = valid("invite", &passed(home.run(&args)));
    assert_eq!(document["addresses"][0], ADDRESS);
    assert_eq!(document["roles"], serde_json::json!(["member", "relay"]));
    let shown = passed(home.run(&["mesh", "show"]));
    assert!(shown.contains("tickets      2 open"), "{shown}");
}

#[test]
fn a_mistyped_ticket_is_told_from_none() {
    let home = Home::new();
    passed(home.run(&["mesh", "create"]));
    let ticket = passed(home.run(&["mesh", "invite", "--address", ADDRESS]));
    let other = Home::new();
    refused(&other.run(&["mesh", "join", "hello"]), "[ticket::none]");
    let cut = &ticket[..ticket.len() - 3];
    refused(&other.run(&["mesh", "join", cut]), "[ticket::mistyped]");
    refused(&other.run(&["mesh", "join", "sykli2x"]), "[ticket::newer]");
}

#[test]
fn peers_are_revoked_trusted_and_blocked_by_their_ids() {
    let (home, other) = (Home::new(), Home::new());
    passed(home.run(&["mesh", "create"]));
    let id = peer(&other);
    refused(
        &home.run(&["mesh", "revoke", "dave"]),
        "[identity::not-a-peer-id]",
    );
    refused(
        &home.run(&["mesh", "revoke", &peer(&home)]),
        "[mesh::own-node]",
    );
    let document = valid(
        "mesh",
        &passed(home.run(&["mesh", "revoke", &id, "--json"])),
    );
    assert_eq!(document["membership"]["revoked"][0], id.as_str());
    passed(home.run(&["mesh", "revoke", "--everyone"]));
    let shown = passed(home.run(&["mesh", "show"]));
    assert!(shown.contains("revoked      0 peers, list 2"), "{shown}");
    refused(&other.run(&["mesh", "revoke", &id]), "[mesh::own-node]");

    assert!(home.run(&["peers", "trust", &id]).err.contains(" trusted"));
    let document = valid(
        "peer-lists",
        &passed(home.run(&["peers", "block", &id, "--json"])),
    );
    assert_eq!(document["blocked"][0], id.as_str());
    assert_eq!(document["trusted"].as_array().map(Vec::len), Some(0));
    refused(&home.run(&["peers"]), "[control::not-running]");
    refused(&home.run(&["peers", "ping", &id]), "[control::not-running]");
}
