//! The table and the arithmetic on links.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

#[test]
fn the_table_says_what_the_protocol_says() {
    use ArtifactLimit::{AtMost, Inline, StatusOnly, Unlimited};
    use Discovery::{Hidden, Known, Multicast};
    use ProfileKind::{Hostile, Lan, Mobile, Wan};
    use Stealing::{Disabled, Full, ReceiveOnly};
    for (kind, tick_s, stealing, artifacts, discovery, grace_s) in [
        (Lan, 60, Full, Unlimited, Multicast, Some(5)),
        (Wan, 120, Full, AtMost(500_000_000), Known, Some(30)),
        (Mobile, 300, Disabled, StatusOnly, Hidden, None),
        (Hostile, 600, ReceiveOnly, Inline, Hidden, None),
    ] {
        let expected = Profile {
            kind,
            tick_ms: tick_s * 1000,
            stealing,
            artifacts,
            discovery,
            absence_grace_ms: grace_s.map(|s: u64| s * 1000),
        };
        assert_eq!(Profile::of(kind), expected);
        assert_eq!(expected.is_hidden(), discovery == Hidden);
    }
    assert_eq!(Profile::default(), Profile::of(Lan));
}

#[test]
fn an_override_changes_its_field_alone() {
    let wan = Profile::of(ProfileKind::Wan);
    assert_eq!(wan.clone().with(Overrides::default()), wan);
    let changed = wan.clone().with(Overrides {
        stealing: Some(Stealing::ReceiveOnly),
        absence_grace_ms: Some(None),
        ..Overrides::default()
    });
    let expected = Profile {
        stealing: Stealing::ReceiveOnly,
        absence_grace_ms: None,
        ..wan.clone()
    };
    assert_eq!(changed, expected);
    let changed = wan.clone().with(Overrides {
        tick_ms: Some(0),
        artifacts: Some(ArtifactLimit::Inline),
        discovery: Some(Discovery::Hidden),
        ..Overrides::default()
    });
    let expected = Profile {
        tick_ms: 1,
        artifacts: ArtifactLimit::Inline,
        discovery: Discovery::Hidden,
        ..wan
    };
    assert_eq!(changed, expected);
}

#[test]
fn a_lease_outlasts_two_ticks_and_the_absence_grace() {
    let lease = |kind| Profile::of(kind).lease_ms();
    assert_eq!(lease(ProfileKind::Lan), 120_000);
    assert_eq!(lease(ProfileKind::Wan), 240_000);
    assert_eq!(lease(ProfileKind::Hostile), 1_200_000);
    let patient = Profile::default().with(Overrides {
        tick_ms: Some(1000),
        ..Overrides::default()
    });
    assert_eq!(patient.lease_ms(), 5000);
    let endless = Profile::default().with(Overrides {
        tick_ms: Some(u64::MAX),
        ..Overrides::default()
    });
    assert_eq!(endless.lease_ms(), u64::MAX);
}

#[test]
fn timeouts_follow_the_profile() {
    let hostile = Profile::of(ProfileKind::Hostile);
    assert_eq!(
        (hostile.dial_timeout_ms(), hostile.idle_timeout_ms()),
        (60_000, 60_000)
    );
    for pair in ProfileKind::ALL.windows(2) {
        let (better, worse) = (Profile::of(pair[0]), Profile::of(pair[1]));
        assert!(better.dial_timeout_ms() <= worse.dial_timeout_ms());
        assert!(better.idle_timeout_ms() <= worse.idle_timeout_ms());
        assert!(better.dial_timeout_ms() >= 10_000);
    }
}

#[test]
fn a_kind_has_one_name() {
    for kind in ProfileKind::ALL {
        assert_eq!(kind.to_string().parse::<ProfileKind>().unwrap(), kind);
    }
    let error = "LAN".parse::<ProfileKind>().unwrap_err();
    assert_eq!(error.text, "LAN");
    assert_eq!(
        error.to_string(),
        "there is no profile `LAN`, only lan, wan, mobile and hostile"
    );
}

#[test]
fn a_link_as_expected_keeps_the_preset_tick() {
    for kind in ProfileKind::ALL {
        let profile = Profile::of(kind);
        assert_eq!(profile.adapted_tick_ms(&Link::of(kind)), profile.tick_ms);
    }
}

#[test]
fn a_short_quiet_round_trip_shortens_the_tick_and_loss_lengthens_it() {
    let lan = Profile::of(ProfileKind::Lan);
    let wired = Link {
        rtt_ms: 1,
        jitter_ms: 0,
        loss_per_mille: 0,
        ..Link::default()
    };
    assert_eq!(lan.adapted_tick_ms(&wired), 15_000);
    let lossy = Link {
        loss_per_mille: 300,
        ..wired
    };
    assert_eq!(lan.adapted_tick_ms(&lossy), 120_000);
}

#[test]
fn between_two_ends_the_worse_one_is_expected() {
    let [lan, .., hostile] = ProfileKind::ALL.map(Link::of);
    assert_eq!(lan.worse(hostile), hostile);
    assert_eq!(hostile.worse(lan), hostile);
    let mixed = Link {
        loss_per_mille: 1000,
        ..lan
    };
    let expected = Link {
        loss_per_mille: 1000,
        ..hostile
    };
    assert_eq!(mixed.worse(hostile), expected);
}

fn any_link() -> impl Strategy<Value = Link> {
    let ms = prop_oneof![0u32..5_000, any::<u32>()];
    (ms.clone(), ms, any::<u16>(), any::<u64>()).prop_map(
        |(rtt_ms, jitter_ms, loss_per_mille, bytes_per_s)| Link {
            rtt_ms,
            jitter_ms,
            loss_per_mille,
            bytes_per_s,
        },
    )
}

proptest! {
    #[test]
    fn the_tick_stays_within_its_bounds_and_never_falls_as_a_link_gets_worse(
        link in any_link(), more in any::<u32>(), kind in 0usize..4, tick in prop_oneof![4u64..1_000_000, any::<u64>()],
    ) {
        let profile = Profile::of(ProfileKind::ALL[kind])
            .with(Overrides { tick_ms: Some(tick), ..Overrides::default() });
        let at = |link: &Link| profile.adapted_tick_ms(link);
        let adapted = at(&link);
        prop_assert!(adapted >= (profile.tick_ms / 4).max(1));
        prop_assert!(adapted <= profile.tick_ms.saturating_mul(2));
        let slower = Link { rtt_ms: link.rtt_ms.saturating_add(more), ..link };
        let shakier = Link { jitter_ms: link.jitter_ms.saturating_add(more), ..link };
        let lossier = Link { loss_per_mille: link.loss_per_mille.saturating_add(more as u16), ..link };
        for worse in [slower, shakier, lossier] {
            prop_assert!(at(&worse) >= adapted);
        }
    }

    #[test]
    fn an_observation_moves_between_the_old_value_and_the_sample(
        link in any_link(), rtt in proptest::option::of(any::<u32>()), bytes in any::<u64>(), took in any::<u64>(),
    ) {
        let mut seen = link;
        seen.observe(rtt);
        if let Some(rtt) = rtt {
            prop_assert!(seen.rtt_ms >= link.rtt_ms.min(rtt) && seen.rtt_ms <= link.rtt_ms.max(rtt));
        } else {
            prop_assert_eq!((seen.rtt_ms, seen.jitter_ms), (link.rtt_ms, link.jitter_ms));
        }
        prop_assert!(seen.loss_per_mille <= 1000);
        seen.observe_transfer(bytes, took);
    }
}

#[test]
fn a_steady_link_is_reached_exactly() {
    let mut link = Link::of(ProfileKind::Hostile);
    for _ in 0..200 {
        link.observe(Some(7));
        link.observe_transfer(3_000, 1_000);
    }
    let expected = Link {
        rtt_ms: 7,
        jitter_ms: 0,
        loss_per_mille: 0,
        bytes_per_s: 3_000,
    };
    assert_eq!(link, expected);
    for _ in 0..200 {
        link.observe(None);
    }
    assert_eq!(link.loss_per_mille, 1000);
    assert_eq!(link.rtt_ms, 7);
}

#[test]
fn one_outlier_raises_jitter_more_than_the_round_trip() {
    let mut link = Link {
        rtt_ms: 100,
        jitter_ms: 0,
        loss_per_mille: 0,
        bytes_per_s: 0,
    };
    link.observe(Some(180));
    assert_eq!((link.rtt_ms, link.jitter_ms), (110, 20));
}
