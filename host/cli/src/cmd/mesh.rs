//! `sykli mesh`: making a mesh, inviting into it, joining, leaving, revoking, and what this node's membership is.
//!
//! A ticket is the one thing that goes to stdout as it is: a line to copy. Everything here works on this node's files
//! alone, but `join`, which is given who carries its frame to the issuer.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sykli_core::membership::MAX_ADDRESSES;
use sykli_core::profile::ProfileKind;
use sykli_node::control::Client;
use sykli_node::identity::{self, Identity, IdentityError};
use sykli_node::membership::{
    Invitation, Joined, Membership, MembershipError, MeshView, Refusal, Ticket, address,
};

use super::Context;
use crate::args::{Ceiling, InviteArgs, InvitedRole, JoinArgs, RevokeArgs};
use crate::config::parse_duration_ms;
use crate::error::{CliError, Exit, Outcome, plain_text};
use crate::render::json::mesh::{InviteDoc, MembershipDoc, MeshDoc};
use crate::render::text::plural;
use crate::render::{self, qr, when};

/// What is wrong with an identity.
pub(crate) fn identity_error(error: &IdentityError) -> CliError {
    CliError::usage(error.code(), plain_text(&error.to_string())).hint(error.hint())
}

/// What is wrong with a membership.
pub(crate) fn membership_error(error: &MembershipError) -> CliError {
    let message = plain_text(&error.to_string());
    let error_here = match error {
        MembershipError::Unreached { .. } | MembershipError::Refused(_) => {
            CliError::failed(error.code(), message)
        }
        _ => CliError::usage(error.code(), message),
    };
    error_here.hint(error.hint())
}

/// This node's membership; its identity is made where there is none yet.
pub(crate) fn open(context: &Context) -> Result<Membership, CliError> {
    let data = &context.resolved.settings.dirs.data;
    let own = Identity::open(data).map_err(|error| identity_error(&error))?;
    Membership::open(data, &own, Default::default()).map_err(|error| membership_error(&error))
}

/// `mesh create`.
pub(crate) fn create(context: &Context) -> Outcome {
    let membership = open(context)?;
    membership.create().map_err(|e| membership_error(&e))?;
    show_membership(context, &membership);
    if !context.format().is_machine() {
        let key = context.resolved.settings.dirs.data.join("mesh/mesh.key");
        render::err(&format!(
            "the mesh key is {}: whoever has it is the mesh. Keep a copy in a safe place\n\
             `sykli mesh invite` lets others in\n",
            key.display()
        ));
    }
    Ok(Exit::Passed)
}

/// `mesh invite`.
pub(crate) fn invite(context: &Context, args: &InviteArgs) -> Outcome {
    let invitation = invitation(context, args)?;
    let ticket = open(context)?
        .invite(&invitation)
        .map_err(|error| membership_error(&error))?;
    let line = ticket.to_string();
    if context.format().is_machine() {
        let doc = invite_doc(&ticket, &invitation, line);
        render::document(&doc, context.format());
        return Ok(Exit::Passed);
    }
    if let Some(code) = qr::code(&line, &context.term) {
        render::err(&code);
    }
    render::out(&format!("{line}\n"));
    render::err(&format!(
        "for one node, until {}: `sykli mesh join TICKET` there, while a node runs here\n",
        when::date(ticket.expires)
    ));
    Ok(Exit::Passed)
}

fn invitation(context: &Context, args: &InviteArgs) -> Result<Invitation, CliError> {
    let expires_in_ms = parse_duration_ms(&args.expires).map_err(|wrong| {
        CliError::usage("cli::value", format!("--expires: {wrong}")).hint("as in --expires 24h")
    })?;
    let addresses: Result<Vec<Arc<str>>, _> =
        args.addresses.iter().map(|text| address(text)).collect();
    let mut addresses = addresses.map_err(|error| membership_error(&error))?;
    if addresses.is_empty() {
        addresses = listening(context);
    }
    if addresses.is_empty() {
        return Err(CliError::usage(
            "mesh::no-address",
            "a ticket says where this node can be reached",
        )
        .hint(
            "`sykli node start` first, or say it: --address /ip4/192.168.1.42/udp/4242/quic-v1",
        ));
    }
    Ok(Invitation {
        addresses,
        expires_in_s: expires_in_ms / 1000,
        issuer: args.roles.contains(&InvitedRole::Issuer),
        relay: args.roles.contains(&InvitedRole::Relay),
        ceiling: match args.ceiling {
            Ceiling::Lan => ProfileKind::Lan,
            Ceiling::Wan => ProfileKind::Wan,
            Ceiling::Mobile => ProfileKind::Mobile,
            Ceiling::Hostile => ProfileKind::Hostile,
        },
    })
}

/// Where the node that runs here can be reached: from other machines, else from this one alone.
fn listening(context: &Context) -> Vec<Arc<str>> {
    let client = Client::new(&context.resolved.settings.dirs.runtime);
    let status = client.status().unwrap_or_default();
    let all = status.listening.iter();
    let local = |text: &&String| text.contains("/127.0.0.1/") || text.contains("/::1/");
    let (near, far): (Vec<&String>, Vec<&String>) = all.partition(local);
    let chosen = if far.is_empty() { near } else { far };
    let addresses = chosen.into_iter().filter_map(|text| address(text).ok());
    addresses.take(MAX_ADDRESSES).collect()
}

fn invite_doc(ticket: &Ticket, invitation: &Invitation, line: String) -> InviteDoc {
    let roles = [
        (true, "member"),
        (invitation.issuer, "issuer"),
        (invitation.relay, "relay"),
    ];
    let given = roles.into_iter().filter(|(given, _)| *given);
    InviteDoc {
        schema: "sykli.invite/1",
        ticket: line,
        mesh: identity::show(ticket.mesh),
        issuer: identity::show(ticket.issuer),
        expires_unix_s: ticket.expires,
        addresses: ticket.addresses.iter().map(|a| a.to_string()).collect(),
        roles: given.map(|(_, name)| name.to_owned()).collect(),
        ceiling: invitation.ceiling.name().to_owned(),
    }
}

/// `mesh join`. `carry` reaches the issuer and joins: [`sykli_node::membership::join`] over a transport.
pub(crate) fn join(
    context: &Context,
    args: &JoinArgs,
    carry: impl FnOnce(&Path, &Ticket) -> Result<Joined, MembershipError>,
) -> Outcome {
    let ticket: Ticket = args
        .ticket
        .parse()
        .map_err(|error| membership_error(&MembershipError::Ticket(error)))?;
    let data = &context.resolved.settings.dirs.data;
    let joined = carry(data, &ticket).map_err(|error| membership_error(&error))?;
    show(
        context,
        Some(identity::show(joined.node)),
        Some(joined.view),
    );
    Ok(Exit::Passed)
}

/// `mesh leave`.
pub(crate) fn leave(context: &Context) -> Outcome {
    let membership = open(context)?;
    let mesh = membership.leave().map_err(|e| membership_error(&e))?;
    if context.format().is_machine() {
        show_membership(context, &membership);
    } else {
        render::err(&format!("left the mesh {}\n", identity::show(mesh)));
    }
    Ok(Exit::Passed)
}

/// `mesh revoke`.
pub(crate) fn revoke(context: &Context, args: &RevokeArgs) -> Outcome {
    let membership = open(context)?;
    let done = match &args.peer {
        None => membership.revoke_everyone(),
        Some(peer) => {
            let node = identity::parse(peer).map_err(|error| identity_error(&error))?;
            membership.revoke(node)
        }
    };
    let version = done.map_err(|error| membership_error(&error))?;
    if context.format().is_machine() {
        show_membership(context, &membership);
        return Ok(Exit::Passed);
    }
    let what = args.peer.as_deref().unwrap_or("every earlier certificate");
    render::err(&format!(
        "{} revoked, by list {version}: nodes hear of it when they next greet one that knows\n",
        what.trim()
    ));
    Ok(Exit::Passed)
}

/// `mesh show`. Makes nothing.
pub(crate) fn show_command(context: &Context) -> Outcome {
    let data = &context.resolved.settings.dirs.data;
    let own = Identity::existing(data).map_err(|error| identity_error(&error))?;
    match own {
        None => show(context, None, None),
        Some(_) => show_membership(context, &open(context)?),
    }
    Ok(Exit::Passed)
}

fn show_membership(context: &Context, membership: &Membership) {
    let peer = identity::show(membership.node_id());
    show(context, Some(peer), membership.view());
}

fn show(context: &Context, peer: Option<String>, view: Option<MeshView>) {
    let refused = view.as_ref().and_then(|view| view.refused);
    let doc = MeshDoc {
        schema: "sykli.mesh/1",
        peer,
        membership: view.map(membership_doc),
    };
    if context.format().is_machine() {
        render::document(&doc, context.format());
    } else {
        render::out(&text(&doc, refused, now()));
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn membership_doc(view: MeshView) -> MembershipDoc {
    MembershipDoc {
        mesh: identity::show(view.mesh),
        roles: view.roles.names().into_iter().map(str::to_owned).collect(),
        ceiling: view.ceiling.name().to_owned(),
        issued_unix_s: view.issued,
        not_after_unix_s: view.not_after,
        epoch: view.epoch,
        issuer: view.issuer.map(identity::show),
        refused: view.refused.map(|refusal| refusal.code().to_owned()),
        holds_mesh_key: view.holds_mesh_key,
        revocations_version: view.revocations_version,
        revoked: view.revoked.into_iter().map(identity::show).collect(),
        open_tickets: view.open_tickets as u64,
    }
}

fn text(doc: &MeshDoc, refused: Option<Refusal>, now: u64) -> String {
    let peer = doc.peer.as_deref().unwrap_or("none yet");
    let Some(of) = &doc.membership else {
        return format!("peer         {peer}\nmesh         none\n");
    };
    let until = format!(
        "until {} ({})",
        when::date(of.not_after_unix_s),
        when::distance(of.not_after_unix_s, now)
    );
    let signer = match &of.issuer {
        None => "by the mesh key".to_owned(),
        Some(issuer) => format!("by {issuer}"),
    };
    let mut out = format!(
        "peer         {peer}\nmesh         {}\nroles        {}\nceiling      {}\ncertificate  {until}, {signer}\n",
        of.mesh,
        of.roles.join(", "),
        of.ceiling,
    );
    if let Some(refusal) = refused {
        out.push_str(&format!("refused      {refusal}\n"));
    }
    if of.holds_mesh_key {
        out.push_str("mesh key     on this machine\n");
    }
    if of.open_tickets > 0 {
        out.push_str(&format!("tickets      {} open\n", of.open_tickets));
    }
    if of.revocations_version > 0 {
        let count = plural(of.revoked.len() as u64, "peer");
        out.push_str(&format!(
            "revoked      {count}, list {}\n",
            of.revocations_version
        ));
    }
    for peer in &of.revoked {
        out.push_str(&format!("             {peer}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_reads_as_one_line_a_fact() {
        let nobody = MeshDoc {
            schema: "sykli.mesh/1",
            peer: None,
            membership: None,
        };
        assert_eq!(
            text(&nobody, None, 0),
            "peer         none yet\nmesh         none\n"
        );
        let membership = MembershipDoc {
            mesh: "12D3mesh".to_owned(),
            roles: vec!["member".to_owned(), "issuer".to_owned()],
            ceiling: "wan".to_owned(),
            issued_unix_s: 1_799_000_000,
            not_after_unix_s: 1_800_000_000,
            epoch: 1,
            issuer: None,
            refused: Some("hello::expired".to_owned()),
            holds_mesh_key: true,
            revocations_version: 3,
            revoked: vec!["12D3bad".to_owned()],
            open_tickets: 2,
        };
        let doc = MeshDoc {
            peer: Some("12D3own".to_owned()),
            membership: Some(membership),
            ..nobody
        };
        let shown = text(&doc, Some(Refusal::Expired), 1_800_200_000);
        assert_eq!(
            shown,
            "peer         12D3own\nmesh         12D3mesh\nroles        member, issuer\nceiling      wan\n\
             certificate  until 2027-01-15 08:00 UTC (2 days ago), by the mesh key\n\
             refused      its certificate has expired\nmesh key     on this machine\ntickets      2 open\n\
             revoked      1 peer, list 3\n             12D3bad\n"
        );
    }
}
