//! A real node under attack, by outsiders and by members: floods of connections and handshakes (`flood`), strangers who want
//! more than to greet (`stranger`), members who break the protocol, lie about sizes or are cloned (`member`).
//!
//! Whoever attacks is cut off and counted, the node stays small, and what honest members do goes on with right results.
//! Attackers have addresses of their own (`attacker`), honest nodes 127.0.0.1.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attacker;
mod flood;
mod honest;
mod member;
mod stranger;
