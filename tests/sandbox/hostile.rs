//! What becomes of guests that mean harm: each meets its typed end, the host stays within bounds, and the next guest runs
//! as if nothing had been.

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use sykli_runtime::{CancelToken, Floats, Grant, Limit, Outcome, Refusal, Status, TrapKind};

use crate::common::{Case, Recorder, case, engine, stdout, succeeded};

/// After whatever happened, an honest guest still runs.
fn still_works() {
    succeeded(&case("noop", &[]).run());
}

/// How much memory this process takes at most so far, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap_or("VmHWM: 0 kB");
    let kilobytes: u64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0);
    kilobytes << 10
}

#[test]
fn an_endless_loop_ends_with_its_fuel() {
    let mut spin = case("spin", &[]);
    spin.grant.fuel = 50_000_000;
    let outcome = spin.run();
    assert_eq!(
        outcome.status,
        Status::Limit(Limit::Fuel { limit: 50_000_000 })
    );
    assert_eq!(stdout(&outcome), "spinning\n");
    still_works();
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    let mut spin = case("spin", &[]);
    spin.grant = Grant {
        fuel: i64::MAX as u64,
        timeout: Duration::from_millis(200),
        ..spin.grant
    };
    assert!(matches!(spin.run().status, Status::TimedOut { .. }));
    still_works();
}

#[test]
fn an_endless_loop_ends_when_it_is_cancelled() {
    let mut spin = case("spin", &[]);
    spin.grant.fuel = i64::MAX as u64;
    spin.cancel = CancelToken::default();
    spin.observer = Arc::new(Recorder {
        cancel: Some(spin.cancel.clone()),
        ..Recorder::default()
    });
    assert_eq!(spin.run().status, Status::Cancelled);
    still_works();
}

#[test]
fn an_endless_sleep_ends_with_its_fuel_or_at_its_deadline() {
    let mut sleeper = case("sleep-forever", &[]);
    sleeper.grant.fuel = 100_000_000;
    let virtually = sleeper.run().status;
    assert!(
        matches!(virtually, Status::Limit(Limit::Fuel { .. })),
        "{virtually}"
    );
    let mut sleeper = case("sleep-forever", &[]);
    sleeper.grant = Grant {
        clock: true,
        timeout: Duration::from_millis(300),
        ..sleeper.grant
    };
    assert!(matches!(sleeper.run().status, Status::TimedOut { .. }));
    still_works();
}

#[test]
fn memory_stays_within_its_limit() {
    let before = peak_memory();
    let mut hog = case("memory-hog", &[]);
    hog.grant.memory_bytes = 128 << 20;
    let outcome = hog.run();
    assert!(
        succeeded(&outcome).starts_with("refused after 1"),
        "{}",
        stdout(&outcome)
    );
    assert!(outcome.usage.peak_memory_bytes <= 128 << 20);
    assert!(
        outcome
            .refusals
            .iter()
            .any(|refusal| matches!(refusal, Refusal::Memory { .. }))
    );
    let bomb = case("memory-bomb", &[]).run();
    assert!(
        matches!(bomb.status, Status::Limit(Limit::Memory { .. })),
        "{}",
        bomb.status
    );
    // Tests of this binary run side by side: each may have its own limit, and 64 MiB, at once.
    let most = before + 8 * ((256 + 64) << 20);
    assert!(peak_memory() < most, "{} of {most}", peak_memory());
    still_works();
}

#[test]
fn endless_recursion_ends_at_the_bound_of_the_stack() {
    let outcome = case("stack-bomb", &[]).run();
    assert!(
        matches!(outcome.status, Status::Limit(Limit::Stack { .. })),
        "{}",
        outcome.status
    );
    still_works();
}

#[test]
fn a_panic_names_the_functions_that_led_to_it() {
    let outcome = case("panic", &[]).run();
    let Status::Trapped {
        kind, backtrace, ..
    } = &outcome.status
    else {
        panic!("{}", outcome.status)
    };
    assert_eq!(*kind, TrapKind::Unreachable);
    for function in ["inner", "outer"] {
        assert!(
            backtrace.iter().any(|frame| frame.contains(function)),
            "{function}: {backtrace:#?}"
        );
    }
    still_works();
}

#[test]
fn a_flood_of_handles_ends() {
    for kind in ["files", "folders", "sockets"] {
        let outcome = case("handle-flood", &[kind]).run();
        let refused = outcome.status.is_success() && stdout(&outcome).contains("refused after");
        let limited = matches!(
            outcome.status,
            Status::Limit(Limit::Handles { .. } | Limit::Memory { .. })
        );
        assert!(
            refused || limited,
            "{kind}: {}: {}",
            outcome.status,
            stdout(&outcome)
        );
    }
    still_works();
}

#[test]
fn ten_gigabytes_of_output_are_counted_and_cut() {
    for stream in ["stdout", "stderr"] {
        let mut flood = case("stdout-flood", &[stream, "10737418240"]);
        flood.grant.fuel = i64::MAX as u64;
        let outcome = flood.run();
        succeeded_quietly(&outcome);
        let captured = if stream == "stdout" {
            &outcome.stdout
        } else {
            &outcome.stderr
        };
        assert_eq!(captured.bytes.len(), 1 << 20);
        assert_eq!(captured.dropped_bytes, (10 << 30) - (1 << 20));
    }
    still_works();
}

fn succeeded_quietly(outcome: &Outcome) {
    assert!(outcome.status.is_success(), "{}", outcome.status);
}

#[test]
fn escape_sequences_are_kept_as_they_were_written() {
    // Taking them out is for whoever shows them: what a task wrote must not change on its way to the cache.
    let outcome = case("terminal-escapes", &[]).run();
    assert!(succeeded(&outcome).contains("\u{1b}]52;c;"));
}

#[test]
fn a_disk_is_filled_to_its_quota_and_no_further() {
    for (way, refused) in [
        ("big", true),
        ("many", true),
        ("folders", true),
        ("deep", true),
        ("sparse", true),
        ("hole", true),
        ("links", true),
        ("names", true),
        ("rewrite", false),
    ] {
        for folder in ["/out", "/tmp"] {
            let outcome = case("disk-fill", &[way, folder]).run();
            let said = succeeded(&outcome);
            assert_eq!(said.contains("refused after"), refused, "{said}");
            assert!(
                outcome.usage.output_bytes <= 64 << 20,
                "{way}: {:?}",
                outcome.usage
            );
            assert!(
                outcome.usage.output_entries <= 20_000,
                "{way}: {:?}",
                outcome.usage
            );
        }
    }
    still_works();
}

#[test]
fn no_route_leads_out() {
    let outside = tempfile::tempdir().unwrap();
    let canary = outside.path().join("canary.txt");
    std::fs::write(&canary, "untouched").unwrap();
    let outcome = case("escape", &[canary.to_str().unwrap()])
        .file("kept.txt", "kept")
        .file("deep/er.txt", "er")
        .run();
    let said = stdout(&outcome);
    let escaped: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("ESCAPED"))
        .collect();
    assert!(
        outcome.status.is_success() && escaped.is_empty(),
        "{}: {escaped:#?}",
        outcome.status
    );
    assert!(said.lines().count() > 100, "every route was tried: {said}");
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "untouched");
    still_works();
}

#[test]
fn the_network_is_closed_and_what_was_wanted_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let datagrams = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    datagrams.set_nonblocking(true).unwrap();

    let outcome = case("net", &[&format!("127.0.0.1:{port}")]).run();
    let said = succeeded(&outcome);
    // Turning the text of an address into an address needs nobody.
    let refused = said.lines().filter(|line| !line.starts_with("lookup: "));
    assert!(
        refused.clone().count() == 5 && refused.clone().all(|line| line.contains(": refused: ")),
        "{said}"
    );
    assert!(
        listener.accept().is_err() && datagrams.recv(&mut [0; 8]).is_err(),
        "nothing arrived"
    );
    let wanted = outcome.refusals.iter().any(
        |refusal| matches!(refusal, Refusal::Net { host, port: Some(wanted) } if host == "127.0.0.1" && *wanted == port),
    );
    assert!(wanted, "{:?}", outcome.refusals);
}

#[test]
fn a_granted_address_is_reached_and_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 5];
        stream.read_exact(&mut asked).unwrap();
        stream.write_all(b"pong\n").unwrap();
    });
    let mut net = case("net", &[&address]);
    net.grant.net = vec![address.parse().unwrap()];
    let said = succeeded(&net.run());
    assert!(said.contains("connect: ok: pong"), "{said}");
    assert!(said.contains("listen everywhere: refused"), "{said}");
    server.join().unwrap();

    let mut net = case("net", &["127.0.0.1:1"]);
    net.grant.net = vec![address.parse().unwrap()];
    assert!(succeeded(&net.run()).contains("connect: refused"));
}

#[test]
fn every_kind_of_trap_has_its_name() {
    let traps = sykli_tests::wat_guest("traps");
    for (args, expected) in [
        (&[][..], TrapKind::Arithmetic),
        (&["x"], TrapKind::MemoryOutOfBounds),
        (&["x", "y"], TrapKind::BadIndirectCall),
    ] {
        let status = Case::of(&traps, "traps", args).run().status;
        assert!(
            matches!(&status, Status::Trapped { kind, .. } if *kind == expected),
            "{args:?}: {status}"
        );
    }
    still_works();
}

#[test]
fn what_is_too_much_before_it_starts_is_refused() {
    for name in ["memories-50", "memory-huge", "tables-9", "instances-100"] {
        let bytes = sykli_tests::wat_guest(name);
        // Refused when it is loaded or when it is to be run: either way typed, and without the memory being taken.
        if engine().load(&bytes, Floats::Fast).is_ok() {
            let status = Case::of(&bytes, name, &[]).run().status;
            assert!(matches!(status, Status::Limit(_)), "{name}: {status}");
        }
    }
    still_works();
}

#[test]
fn what_cannot_be_run_is_refused_by_name() {
    for (name, expected) in [
        ("unknown-import", "acme:gpu/compute@1.2.0"),
        ("newer-wasi", "wasi:http/outgoing-handler@0.2.0"),
        ("not-a-command", "command"),
    ] {
        let error = engine()
            .load(&sykli_tests::wat_guest(name), Floats::Fast)
            .err()
            .unwrap();
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
    let whole = std::fs::read(sykli_tests::guest("noop")).unwrap();
    for length in [0, 3, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        assert!(
            engine().load(&whole[..length], Floats::Fast).is_err(),
            "cut at {length}"
        );
    }
}

#[test]
fn a_nan_is_canonical_where_results_must_be_comparable() {
    let bytes = sykli_tests::wat_guest("nan");
    let component = engine().load(&bytes, Floats::Portable);
    assert!(component.is_ok());
    let mut portable = Case::of(&bytes, "nan", &[]);
    portable.component = component.unwrap();
    assert_eq!(portable.run().status, Status::Exited(0));
}
