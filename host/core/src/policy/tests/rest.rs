//! What moving costs, the default policy, and how reasons are named and said.

use super::*;
use crate::profile::{INLINE_BYTES, Link};

#[test]
fn inline_bounds_each_part_and_a_cap_their_sum() {
    use ArtifactLimit::{AtMost, Inline, StatusOnly, Unlimited};
    let fits = Sizes {
        component: INLINE_BYTES,
        inputs: INLINE_BYTES,
        outputs: INLINE_BYTES,
        missing: 2 * INLINE_BYTES,
    };
    let all = 3 * INLINE_BYTES;
    let check = |limits, cap, sizes| artifact_check(limits, cap, sizes);
    assert_eq!(check([Inline, Unlimited], all, fits), Ok(()));
    assert_eq!(
        check([Inline, AtMost(all - 1)], all, fits),
        over(all, all - 1)
    );
    let large = INLINE_BYTES + 1;
    for sizes in [
        Sizes {
            component: large,
            ..fits
        },
        Sizes {
            inputs: large,
            ..fits
        },
        Sizes {
            outputs: large,
            ..fits
        },
    ] {
        let answer = check([Unlimited, Inline], u64::MAX, sizes);
        assert_eq!(answer, over(large, INLINE_BYTES));
        assert_eq!(check([Unlimited, Unlimited], u64::MAX, sizes), Ok(()));
    }
    let nothing = Sizes::default();
    assert_eq!(check([Unlimited, StatusOnly], all, nothing), over(0, 0));
    assert_eq!(check([Unlimited, Unlimited], 0, nothing), Ok(()));
}

#[test]
fn a_move_pays_while_it_takes_no_longer_than_the_run() {
    assert!(worth_moving(5_000, 5_000));
    assert!(!worth_moving(5_001, 5_000));
    assert!(worth_moving(ASSUMED_REMAINING_MS, 0));
    assert!(!worth_moving(ASSUMED_REMAINING_MS + 1, 0));
}

#[test]
fn a_transfer_takes_a_round_trip_and_its_bytes() {
    let link = Link {
        rtt_ms: 40,
        jitter_ms: 0,
        loss_per_mille: 0,
        bytes_per_s: 1_000_000,
    };
    assert_eq!(transfer_ms(0, &link), 40);
    assert_eq!(transfer_ms(1, &link), 41);
    assert_eq!(transfer_ms(2_000_000, &link), 2_040);
    assert_eq!(transfer_ms(u64::MAX, &link), 18_446_744_073_709_592);
    let dead = Link {
        bytes_per_s: 0,
        ..link
    };
    assert_eq!(transfer_ms(1, &dead), u64::MAX);
    assert_eq!(transfer_ms(0, &dead), 40);
}

#[test]
fn the_default_policy_is_the_documented_one() {
    let policy = Policy::default();
    assert_eq!(policy.mode, ConsentMode::Never);
    assert_eq!(policy.max_concurrent, 2);
    assert_eq!(policy.min_memory_mb, 0);
    assert_eq!(policy.max_artifact_bytes, u64::MAX);
    assert_eq!(policy.consent_timeout_ms, 1_000);
    assert_eq!(policy.ask_timeout_ms, 60_000);
    assert!(policy.require_labels.is_empty() && policy.grants.is_empty());
    assert_eq!(policy.when, When::default());
}

fn every_reason() -> Vec<Reason> {
    let text: Arc<str> = "x".into();
    vec![
        label("gpu"),
        Reason::LabelNotAsked {
            label: text.clone(),
        },
        Reason::MemoryBelow { need: 2, have: 1 },
        Reason::ArtifactOverCap { bytes: 2, cap: 1 },
        Reason::MaxConcurrent { n: 2 },
        Reason::LeaseCap { n: 1 },
        Reason::StealingDisabled,
        Reason::UnknownImport { name: text.clone() },
        Reason::GrantRefused { grant: text },
        Reason::EngineMismatch,
        Reason::NotTrusted,
        Reason::ConsentNever,
        Reason::UserDeclined,
        Reason::UserInputActive,
        Reason::OnBattery,
        Reason::Metered,
        Reason::Paused,
        Reason::Draining,
        Reason::SecretsStay,
        Reason::StaysHere,
        Reason::MovedTooOften,
        Reason::CoolingDown,
        Reason::NotWorthIt,
        Reason::NoAnswer,
        Reason::DiskFull,
        Reason::NoRoom,
    ]
}

#[test]
fn every_reason_has_a_name_and_a_fragment_of_its_own() {
    let reasons = every_reason();
    let codes: BTreeSet<&str> = reasons.iter().map(Reason::code).collect();
    let texts: BTreeSet<String> = reasons.iter().map(Reason::to_string).collect();
    assert_eq!(codes.len(), reasons.len());
    assert_eq!(texts.len(), reasons.len());
    for code in codes {
        assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
    }
    for text in texts {
        assert!(text.starts_with(|c: char| c.is_ascii_lowercase()), "{text}");
        assert!(!text.ends_with('.'), "{text}");
    }
    assert_eq!(label("gpu").to_string(), "needs the label gpu");
    assert_eq!(label("gpu").code(), "label-missing");
}

#[test]
fn eleven_reasons_are_about_the_peer_as_a_whole() {
    let about: Vec<&str> = every_reason()
        .iter()
        .filter(|reason| reason.is_about_peer())
        .map(Reason::code)
        .collect();
    assert_eq!(
        about,
        [
            "max-concurrent",
            "lease-cap",
            "stealing-disabled",
            "consent-never",
            "user-input-active",
            "on-battery",
            "metered",
            "paused",
            "draining",
            "disk-full",
            "no-room"
        ]
    );
}
