//! The node's answers as text, or as the documents that they are. Names and messages of other machines are stripped of
//! what a terminal could obey. Decides the layout only. Called by [`super`].

use std::fmt::Write;

use sykli_core::units::{human_bytes, human_duration_ms};
use sykli_node::control::api::{
    AskInfo, AsksDoc, ForeignView, HostView, NodeStatus, PeerView, RunView,
};

use super::super::Context;
use crate::render::escape::clean;
use crate::render::term::{Tone, paint};
use crate::render::{self, text};

/// What a node is, when it begins.
pub(super) fn greeting(status: &NodeStatus) -> String {
    let mut out = format!("{} {}\n", clean(&status.name), status.id);
    for address in &status.listening {
        let _ = writeln!(out, "  listening on {}", clean(address));
    }
    if status.listening.is_empty() {
        out.push_str("  listening on nothing: it dials out\n");
    }
    let _ = writeln!(out, "  consent: {}", consent(&status.consent));
    out
}

/// What a consent mode means.
fn consent(mode: &str) -> String {
    let means = match mode {
        "never" => "others' tasks do not run here (consent.mode in your settings)",
        "ask" => "each of others' tasks waits for your answer",
        "policy" => "others' tasks run here as the policy allows",
        _ => return clean(mode),
    };
    format!("{mode}, {means}")
}

/// A question in words: whose task, what it costs, what it wants.
pub(super) fn question(ask: &AskInfo) -> String {
    let mut wants = vec![
        format!("{} MB of memory", ask.memory_mb),
        format!("{} to fetch", human_bytes(ask.bytes)),
    ];
    if ask.estimate_ms > 0 {
        wants.push(format!("about {}", human_duration_ms(ask.estimate_ms)));
    } else {
        wants.push(format!("at most {}", human_duration_ms(ask.timeout_ms)));
    }
    if !ask.grants.is_empty() {
        wants.push(format!("wants {}", ask.grants.join(", ")));
    }
    let owner = format!("may {} of {} run here?", ask.label, ask.owner_name);
    clean(&format!("{owner} {}", wants.join(", ")))
}

/// `node asks`.
pub(super) fn asks(context: &Context, doc: &AsksDoc) {
    if context.format().is_machine() {
        render::document(doc, context.format());
        return;
    }
    if doc.asks.is_empty() {
        render::err("no question waits\n");
    }
    for ask in &doc.asks {
        render::out(&format!(
            "{}  {} ({} left)\n",
            clean(&ask.id),
            question(ask),
            human_duration_ms(ask.remaining_ms)
        ));
    }
}

/// `node status`.
pub(super) fn status(context: &Context, status: &NodeStatus) {
    if context.format().is_machine() {
        render::document(status, context.format());
    } else {
        render::out(&status_text(status, context.term.out.color));
    }
}

pub(super) fn status_text(status: &NodeStatus, color: bool) -> String {
    let mut out = format!(
        "{} {} (pid {}, up {})\n",
        paint(&clean(&status.name), Tone::Strong, color),
        clean(&status.id),
        status.pid,
        human_duration_ms(status.up_ms)
    );
    let state = match (status.draining, status.paused) {
        (true, _) => "finishes what it has",
        (false, true) => "paused: takes no foreign task",
        (false, false) => "ready",
    };
    let listening = if status.listening.is_empty() {
        "nothing: it dials out".to_owned()
    } else {
        status.listening.join(" ")
    };
    row(&mut out, "state", state);
    row(&mut out, "consent", &consent(&status.consent));
    row(&mut out, "profile", &status.profile);
    row(&mut out, "listens on", &listening);
    row(&mut out, "labels", &status.labels.join(" "));
    let room = format!("{} slots, {} MB", status.slots, status.memory_mb);
    row(&mut out, "room", &room);
    host(&mut out, &status.host);
    if let Some(why) = &status.isolation_fault {
        let said = format!("others' tasks cannot run: {}", clean(why));
        row(&mut out, "isolation", &said);
    } else if let Some(given_up) = &status.isolation {
        let said = match given_up.missing().as_slice() {
            [] => "others' tasks run apart, with everything closed".to_owned(),
            missing => format!(
                "others' tasks run apart, without {}",
                clean(&missing.join(", "))
            ),
        };
        row(&mut out, "isolation", &said);
    }
    list(&mut out, "peers", &status.peers, peer);
    list(&mut out, "runs", &status.runs, run);
    list(&mut out, "others' tasks", &status.foreign, foreign);
    list(&mut out, "questions", &status.asks, |ask| {
        format!("{}  {}", ask.id, question(ask))
    });
    out
}

fn row(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "  {name:12} {}", clean(value));
}

/// What the machine says of itself, or why it does not.
fn host(out: &mut String, host: &HostView) {
    for (name, said) in machine(host) {
        row(out, name, &said);
    }
}

/// What the machine says of itself, by what it is about; where it cannot tell, that and why.
pub(in crate::cmd) fn machine(host: &HostView) -> [(&'static str, String); 5] {
    let or_why = |field: &str, said: Option<String>| {
        said.unwrap_or_else(|| match host.cannot_tell.get(field) {
            Some(why) => format!("cannot tell: {why}"),
            None => "cannot tell".to_owned(),
        })
    };
    let untouched = host.untouched_ms.map(|ms| match ms {
        0..1000 => "somebody is using it".to_owned(),
        ms => format!("untouched for {}", human_duration_ms(ms)),
    });
    let battery = host
        .on_battery
        .map(|on| if on { "battery" } else { "mains" }.to_owned());
    let metered = host
        .metered
        .map(|is| if is { "metered" } else { "not metered" }.to_owned());
    let memory = host.free_memory_mb.map(|mb| format!("{mb} MB free"));
    let load = host
        .load_per_mille
        .map(|load| format!("{} % of its cores", load / 10));
    [
        ("user", or_why("untouched_ms", untouched)),
        ("power", or_why("on_battery", battery)),
        ("network", or_why("metered", metered)),
        ("memory", or_why("free_memory_mb", memory)),
        ("load", or_why("load_per_mille", load)),
    ]
}

fn list<T>(out: &mut String, title: &str, items: &[T], show: impl Fn(&T) -> String) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "{title}");
    for item in items {
        let _ = writeln!(out, "  {}", clean(&show(item)));
    }
}

fn peer(peer: &PeerView) -> String {
    let name = if peer.name.is_empty() {
        &peer.id
    } else {
        &peer.name
    };
    let since = human_duration_ms(peer.for_ms);
    let mut words = vec![match (peer.blocked, peer.connected) {
        (true, _) => "blocked".to_owned(),
        (false, true) => format!("connected for {since}"),
        (false, false) => format!("away for {since}"),
    }];
    words.extend(peer.rtt_ms.map(|ms| format!("{ms} ms")));
    words.extend(peer.relayed.then(|| "relayed, limited".to_owned()));
    words.extend((!peer.trusted).then(|| "stranger".to_owned()));
    let tasks = |n: u32, whose: &str| {
        (n > 0).then(|| format!("{} {whose}", text::plural(u64::from(n), "task")))
    };
    words.extend(tasks(peer.has_of_ours, "of ours"));
    words.extend(tasks(peer.has_of_theirs, "of its here"));
    words.extend((peer.offences > 0).then(|| text::plural(u64::from(peer.offences), "offence")));
    let address = peer.addresses.first().map_or("", String::as_str);
    format!("{name} {address}: {}", words.join(", "))
}

fn run(run: &RunView) -> String {
    let state = match &run.ended {
        Some(how) => how.clone(),
        None => format!("{} here, {} elsewhere", run.here, run.elsewhere),
    };
    format!(
        "{} {}: {} of {} done, {} failed, {state}, {}",
        run.run,
        run.pipeline,
        run.settled,
        run.total,
        run.failed,
        human_duration_ms(run.elapsed_ms)
    )
}

fn foreign(task: &ForeignView) -> String {
    let progress = match (task.progress.done, task.progress.total) {
        (_, 0) => String::new(),
        (done, total) => format!(" {} %", done.saturating_mul(100) / total),
    };
    format!(
        "{} from {}: {}{progress}, {}",
        task.label,
        task.owner_name,
        task.state,
        human_duration_ms(task.elapsed_ms)
    )
}
