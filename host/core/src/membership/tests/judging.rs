//! Who is let in, and why not: every way to cheat has a refusal of its own.

use super::*;
use crate::profile::{ArtifactLimit, Stealing};

fn judged(peer: NodeId, chain: &Chain) -> Result<(), Refusal> {
    judge_chain(MESH, peer, chain, None, NOW, &verify)
}

fn judged_at(chain: &Chain, now: u64) -> Result<(), Refusal> {
    judge_chain(MESH, MEMBER, chain, None, now, &verify)
}

fn judged_with(chain: &Chain, list: &Revocations) -> Result<(), Refusal> {
    judge_chain(MESH, MEMBER, chain, Some(list), NOW, &verify)
}

#[test]
fn the_mesh_key_and_its_issuers_make_members() {
    assert_eq!(judged(MEMBER, &issued(certificate(MEMBER))), Ok(()));
    assert_eq!(judged(MEMBER, &direct(certificate(MEMBER))), Ok(()));
    assert_eq!(judged(ISSUER, &direct(issuer())), Ok(()));
}

#[test]
fn what_nobody_entitled_signed_is_forged() {
    let leaf = || certificate(MEMBER);
    let by_other = Chain {
        leaf: sign(OTHER, leaf()),
        issuer: None,
    };
    assert_eq!(judged(MEMBER, &by_other), Err(Refusal::Forged));
    let by_itself = Chain {
        leaf: sign(MEMBER, leaf()),
        issuer: Some(sign(MESH, issuer())),
    };
    assert_eq!(judged(MEMBER, &by_itself), Err(Refusal::Forged));
    let self_made_issuer = Chain {
        leaf: sign(ISSUER, leaf()),
        issuer: Some(sign(ISSUER, issuer())),
    };
    assert_eq!(judged(MEMBER, &self_made_issuer), Err(Refusal::Forged));
    let of_somebody_else = issued(certificate(OTHER));
    assert_eq!(judged(MEMBER, &of_somebody_else), Err(Refusal::Forged));
}

#[test]
fn a_member_certifies_nobody() {
    let by_member = |its_own: Signed<Certificate>| Chain {
        leaf: sign(OTHER, certificate(MEMBER)),
        issuer: Some(its_own),
    };
    let certified_by_the_mesh = by_member(sign(MESH, certificate(OTHER)));
    assert_eq!(
        judged(MEMBER, &certified_by_the_mesh),
        Err(Refusal::Escalated)
    );
    let certified_by_an_issuer = by_member(sign(ISSUER, certificate(OTHER)));
    assert_eq!(
        judged(MEMBER, &certified_by_an_issuer),
        Err(Refusal::Forged)
    );
}

#[test]
fn an_issuer_makes_no_issuer_and_widens_no_ceiling() {
    let mut leaf = certificate(MEMBER);
    leaf.roles.issuer = true;
    assert_eq!(judged(MEMBER, &issued(leaf)), Err(Refusal::Escalated));
    let narrow = Certificate {
        ceiling: ProfileKind::Wan,
        ..issuer()
    };
    let chain = Chain {
        leaf: sign(ISSUER, certificate(MEMBER)),
        issuer: Some(sign(MESH, narrow)),
    };
    assert_eq!(judged(MEMBER, &chain), Err(Refusal::Escalated));
}

#[test]
fn another_mesh_is_another_mesh() {
    let foreign = |certificate: Certificate| Certificate {
        mesh: OTHER,
        ..certificate
    };
    let leaf = direct(foreign(certificate(MEMBER)));
    assert_eq!(judged(MEMBER, &leaf), Err(Refusal::WrongMesh));
    let foreign_issuer = Chain {
        leaf: sign(ISSUER, certificate(MEMBER)),
        issuer: Some(sign(OTHER, foreign(issuer()))),
    };
    assert_eq!(judged(MEMBER, &foreign_issuer), Err(Refusal::WrongMesh));
}

#[test]
fn certificates_hold_for_a_while_and_clocks_may_differ_by_ten_minutes() {
    let chain = issued(certificate(MEMBER));
    let Certificate {
        issued: from,
        not_after: until,
        ..
    } = *chain.claimed();
    assert_eq!(judged_at(&chain, from - SKEW_S), Ok(()));
    assert_eq!(
        judged_at(&chain, from - SKEW_S - 1),
        Err(Refusal::NotYetValid)
    );
    assert_eq!(judged_at(&chain, until + SKEW_S), Ok(()));
    assert_eq!(judged_at(&chain, until + SKEW_S + 1), Err(Refusal::Expired));
    assert_eq!(judged_at(&chain, 0), Err(Refusal::NotYetValid));
    assert_eq!(judged_at(&chain, u64::MAX), Err(Refusal::Expired));
}

#[test]
fn an_issuers_certificate_must_hold_as_well() {
    let old = Certificate {
        not_after: NOW - DAY / 2,
        ..issuer()
    };
    let chain = Chain {
        leaf: sign(ISSUER, certificate(MEMBER)),
        issuer: Some(sign(MESH, old)),
    };
    assert_eq!(judged(MEMBER, &chain), Err(Refusal::Expired));
}

#[test]
fn no_certificate_holds_for_longer_than_thirty_days() {
    let lasting = |life: u64| {
        direct(Certificate {
            issued: NOW,
            not_after: NOW + life,
            ..certificate(MEMBER)
        })
    };
    assert_eq!(judged(MEMBER, &lasting(MAX_LIFE_S)), Ok(()));
    assert_eq!(
        judged(MEMBER, &lasting(MAX_LIFE_S + 1)),
        Err(Refusal::TooLongLived)
    );
}

#[test]
fn revoked_are_the_node_its_issuer_and_older_epochs() {
    let chain = issued(certificate(MEMBER));
    assert_eq!(judged_with(&chain, &revocations(1, &[OTHER])), Ok(()));
    for node in [MEMBER, ISSUER] {
        let list = revocations(1, &[node]);
        assert_eq!(judged_with(&chain, &list), Err(Refusal::Revoked));
    }
    let epoch = |epoch| Revocations {
        epoch,
        ..revocations(1, &[])
    };
    assert_eq!(judged_with(&chain, &epoch(1)), Ok(()));
    assert_eq!(judged_with(&chain, &epoch(2)), Err(Refusal::Revoked));
}

#[test]
fn only_a_newer_list_by_the_mesh_key_takes_the_old_ones_place() {
    let current = revocations(3, &[OTHER]);
    let takes = |list: &Signed<Revocations>| supersedes(MESH, Some(&current), list, &verify);
    assert!(takes(&sign(MESH, revocations(4, &[]))));
    assert!(!takes(&sign(MESH, revocations(3, &[MEMBER]))));
    assert!(!takes(&sign(MESH, revocations(2, &[MEMBER]))));
    assert!(!takes(&sign(ISSUER, revocations(4, &[MEMBER]))));
    let foreign = Revocations {
        mesh: OTHER,
        ..revocations(4, &[])
    };
    assert!(!takes(&sign(MESH, foreign)));
    let back = Revocations {
        epoch: 0,
        ..revocations(4, &[])
    };
    assert!(!takes(&sign(MESH, back)));
    assert!(supersedes(
        MESH,
        None,
        &sign(MESH, revocations(0, &[])),
        &verify
    ));
}

/// A house of this mesh with these lists.
fn house<'a>(trusted: &'a BTreeSet<NodeId>, blocked: &'a BTreeSet<NodeId>) -> House<'a> {
    House {
        mesh: Some(MESH),
        revocations: None,
        trusted,
        blocked,
        open: false,
    }
}

fn admitted(house: &House<'_>, chain: Option<Chain>) -> Result<Standing, Refusal> {
    admit(house, MEMBER, &hello(chain), NOW, &verify)
}

const LISTED: Standing = Standing {
    trusted: true,
    member: false,
    relay: false,
    ceiling: None,
    until: None,
};

#[test]
fn members_and_listed_nodes_are_trusted_strangers_are_not() {
    let (none, listed) = (nobody(), BTreeSet::from([MEMBER]));
    let plain = house(&none, &none);
    let chain = || Some(issued(certificate(MEMBER)));
    let standing = admitted(&plain, chain()).unwrap();
    assert!(standing.trusted && standing.member && !standing.relay);
    assert_eq!(standing.until, Some(NOW + 20 * DAY + SKEW_S));
    assert_eq!(admitted(&plain, None), Err(Refusal::Stranger));

    let homeless = House {
        mesh: None,
        ..plain
    };
    assert_eq!(admitted(&homeless, chain()), Err(Refusal::Stranger));
    let homeless = House {
        mesh: None,
        ..house(&listed, &none)
    };
    assert_eq!(admitted(&homeless, chain()), Ok(LISTED));
    let open = House {
        open: true,
        ..plain
    };
    let stranger = admitted(&open, None).unwrap();
    assert!(!stranger.trusted && !stranger.member);
}

#[test]
fn a_listed_node_needs_no_certificate_and_gains_nothing_by_a_bad_one() {
    let (none, listed) = (nobody(), BTreeSet::from([MEMBER]));
    let house = house(&listed, &none);
    let forged = Chain {
        leaf: sign(OTHER, certificate(MEMBER)),
        issuer: None,
    };
    assert_eq!(admitted(&house, None), Ok(LISTED));
    assert_eq!(admitted(&house, Some(forged)), Ok(LISTED));
    assert!(
        admitted(&house, Some(issued(certificate(MEMBER))))
            .unwrap()
            .member
    );
}

#[test]
fn a_block_and_a_revocation_outweigh_trust() {
    let (none, listed) = (nobody(), BTreeSet::from([MEMBER]));
    let chain = || Some(issued(certificate(MEMBER)));
    assert_eq!(
        admitted(&house(&listed, &listed), chain()),
        Err(Refusal::Blocked)
    );
    let list = revocations(1, &[MEMBER]);
    let revoking = House {
        revocations: Some(&list),
        ..house(&listed, &none)
    };
    assert_eq!(admitted(&revoking, chain()), Err(Refusal::Revoked));
    assert_eq!(admitted(&revoking, None), Err(Refusal::Revoked));
}

#[test]
fn a_ceiling_bounds_profile_stealing_and_artifacts() {
    let none = nobody();
    let at = |capabilities: Capabilities| {
        let leaf = Certificate {
            ceiling: ProfileKind::Wan,
            ..certificate(MEMBER)
        };
        let hello = Hello {
            capabilities,
            ..hello(Some(issued(leaf)))
        };
        admit(&house(&none, &none), MEMBER, &hello, NOW, &verify).map(|standing| standing.ceiling)
    };
    assert_eq!(
        at(capabilities(ProfileKind::Lan)),
        Err(Refusal::AboveCeiling)
    );
    for profile in [ProfileKind::Wan, ProfileKind::Mobile, ProfileKind::Hostile] {
        assert_eq!(at(capabilities(profile)), Ok(Some(ProfileKind::Wan)));
    }
    let wide = Capabilities {
        artifacts: ArtifactLimit::Unlimited,
        ..capabilities(ProfileKind::Wan)
    };
    assert_eq!(at(wide), Err(Refusal::AboveCeiling));
    let narrow = Capabilities {
        stealing: Stealing::Disabled,
        ..capabilities(ProfileKind::Wan)
    };
    assert_eq!(at(narrow), Ok(Some(ProfileKind::Wan)));
}

#[test]
fn renewal_is_due_in_the_last_third_of_a_life() {
    let certificate = Certificate {
        issued: NOW,
        not_after: NOW + 30 * DAY,
        ..certificate(MEMBER)
    };
    assert!(!certificate.is_fading(NOW));
    assert!(!certificate.is_fading(NOW + 20 * DAY));
    assert!(certificate.is_fading(NOW + 20 * DAY + 1));
    assert!(certificate.is_fading(NOW + 40 * DAY));
    let renewed = certificate.renewed(NOW + 25 * DAY, u64::MAX, 7);
    assert_eq!((renewed.life_s(), renewed.epoch), (MAX_LIFE_S, 7));
    let clipped = certificate.renewed(NOW + 25 * DAY, NOW + 26 * DAY, 7);
    assert_eq!(clipped.not_after, NOW + 26 * DAY);
}

#[test]
fn refusals_have_numbers_codes_and_hints_of_their_own() {
    let known: Vec<Refusal> = (0..=255)
        .filter_map(|number| Refusal::of_number(number).ok())
        .collect();
    let codes: BTreeSet<&str> = known.iter().map(|refusal| refusal.code()).collect();
    assert_eq!((known.len(), codes.len()), (16, 16));
    for refusal in known {
        assert_eq!(Refusal::of_number(refusal.number()), Ok(refusal));
        let heard = refusal.heard();
        assert_eq!(heard.reason(), refusal);
        assert!(heard.to_string().contains(refusal.code()), "{heard}");
        assert_eq!(heard.hint(), refusal.hint());
        assert!(!refusal.hint().is_empty());
    }
    assert!(Refusal::ByPeer(200).to_string().contains("200"));
}
