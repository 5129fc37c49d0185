//! `sykli doctor`: what works on this machine and what does not, each with what to do about it. Looks and tries, changes
//! nothing but the folders that any run would make. `doctor/isolation.rs` looks at what tasks of others run in,
//! `doctor/mesh.rs` at this machine among others.

mod isolation;
mod mesh;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use sykli_core::units;
use sykli_node::paths::create_private;
use sykli_runtime::{
    CancelToken, Engine, EngineConfig, Floats, Grant, Inputs, Sandbox, Silent, Source, Status,
    TaskInfo,
};

use super::Context;
use crate::error::{Exit, Outcome, plain, plain_text};
use crate::render;
use crate::render::escape;
use crate::render::json::{Check, CheckState, DoctorDoc};
use crate::render::term::{Tone, paint};

/// Task crates are built for this.
const TARGET: &str = "wasm32-wasip2";
/// Less free space than this is worth a word.
const LOW_SPACE: u64 = 1 << 30;

/// The smallest core module that WASI runs: a memory and an empty `_start`.
const NOOP: &[u8] = &[
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // magic, version
    0x01, 0x04, 0x01, 0x60, 0x00, 0x00, // types: () -> ()
    0x03, 0x02, 0x01, 0x00, // functions: one
    0x05, 0x03, 0x01, 0x00, 0x01, // memories: one page
    0x07, 0x13, 0x02, 0x06, b'm', b'e', b'm', b'o', b'r', b'y', 0x02, 0x00, // exports: memory
    0x06, b'_', b's', b't', b'a', b'r', b't', 0x00, 0x00, // and _start
    0x0a, 0x04, 0x01, 0x02, 0x00, 0x0b, // code: end
];

/// See the module.
pub(crate) fn doctor(context: &Context) -> Outcome {
    let dirs = &context.resolved.settings.dirs;
    let mut checks = vec![
        folder("cache folder", &dirs.cache),
        folder("state folder", &dirs.state),
        folder("runtime folder", &dirs.runtime),
        space(&dirs.cache),
        sandbox(&dirs.runtime),
        isolation::check_isolation(),
    ];
    checks.extend(toolchain());
    checks.push(ok(
        "cores",
        format!(
            "{}, {} tasks at once",
            cores(),
            context.resolved.settings.jobs
        ),
    ));
    checks.extend(mesh::checks(context));
    let healthy = checks.iter().all(|check| check.state != CheckState::Failed);
    let doc = DoctorDoc {
        schema: "sykli.doctor/1",
        version: env!("CARGO_PKG_VERSION").to_owned(),
        healthy,
        checks,
    };
    if context.format().is_machine() {
        render::document(&doc, context.format());
    } else {
        show(context, &doc);
    }
    Ok(if healthy {
        Exit::Passed
    } else {
        Exit::TaskFailed
    })
}

fn show(context: &Context, doc: &DoctorDoc) {
    let (color, unicode) = (context.term.out.color, context.term.unicode);
    render::out(&format!(
        "sykli {} on {}-{}\n",
        doc.version,
        std::env::consts::ARCH,
        std::env::consts::OS
    ));
    for check in &doc.checks {
        let (sign, tone) = match (check.state, unicode) {
            (CheckState::Ok, true) => ("✓", Tone::Good),
            (CheckState::Ok, false) => ("ok", Tone::Good),
            (CheckState::Warning, _) => ("!", Tone::Warn),
            (CheckState::Failed, true) => ("✗", Tone::Bad),
            (CheckState::Failed, false) => ("FAILED", Tone::Bad),
        };
        render::out(&format!(
            "{} {}: {}\n",
            paint(sign, tone, color),
            check.name,
            escape::clean(&check.message)
        ));
        if let Some(hint) = &check.hint {
            render::out(&format!(
                "  {} {}\n",
                paint("hint:", Tone::Info, color),
                escape::clean(hint)
            ));
        }
    }
}

fn check(name: &str, state: CheckState, message: String, hint: Option<&str>) -> Check {
    Check {
        name: name.to_owned(),
        state,
        message,
        hint: hint.map(str::to_owned),
    }
}

fn ok(name: &str, message: String) -> Check {
    check(name, CheckState::Ok, message, None)
}

/// Private to this user, and a file can be written into it.
fn folder(name: &str, path: &Path) -> Check {
    let hint = "give yourself the folder (chown, chmod u+rwx), or set the XDG variables to others";
    if let Err(error) = create_private(path) {
        return check(
            name,
            CheckState::Failed,
            plain_text(&error.to_string()),
            Some(hint),
        );
    }
    let probe = path.join(format!(".doctor-{}", std::process::id()));
    let tried = std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe));
    match tried {
        Ok(()) => ok(name, path.display().to_string()),
        Err(error) => check(
            name,
            CheckState::Failed,
            format!("{}: {}", path.display(), plain(&error)),
            Some(hint),
        ),
    }
}

fn space(path: &Path) -> Check {
    match rustix::fs::statvfs(path) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let message = format!("{} free for the cache", units::human_bytes(free));
            if free < LOW_SPACE {
                check(
                    "disk",
                    CheckState::Warning,
                    message,
                    Some("`sykli cache gc --max SIZE` gives space back"),
                )
            } else {
                ok("disk", message)
            }
        }
        Err(error) => check(
            "disk",
            CheckState::Warning,
            plain_text(&error.to_string()),
            None,
        ),
    }
}

/// Compiles and runs the smallest guest.
fn sandbox(spool: &Path) -> Check {
    let hint = "the engine needs virtual memory: raise `ulimit -v`, or vm.overcommit_memory in a container";
    let failed = |message: String| check("sandbox", CheckState::Failed, message, Some(hint));
    let config = EngineConfig {
        cache_dir: None,
        slots: 1,
        spool_dir: spool.to_owned(),
    };
    let engine = match Engine::new(config) {
        Ok(engine) => engine,
        Err(error) => return failed(error.to_string()),
    };
    let component = match engine.load(NOOP, Floats::Fast) {
        Ok(component) => component,
        Err(error) => return failed(error.to_string()),
    };
    let class = Engine::class(Floats::Fast);
    let outcome = Sandbox::new(engine).run(
        &component,
        &Grant::default(),
        Inputs {
            args: vec!["doctor".to_owned()],
            env: Vec::new(),
            stdin: Source::empty(),
            mounts: Vec::new(),
            seed: [0; 32],
            task: TaskInfo::default(),
        },
        Arc::new(Silent),
        &CancelToken::default(),
    );
    match outcome.status {
        Status::Exited(0) => ok("sandbox", format!("runs a guest ({class})")),
        other => failed(format!("the smallest guest ended with {other:?}")),
    }
}

/// What task crates need; pipelines of ready components need none of it.
fn toolchain() -> Vec<Check> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let missing = "only for `crate = …` tasks: install Rust from https://rustup.rs";
    let version = output(&cargo, &["--version"]);
    let Some(version) = version else {
        return vec![check(
            "cargo",
            CheckState::Warning,
            "not found".to_owned(),
            Some(missing),
        )];
    };
    let libs = output("rustc", &["--print", "target-libdir", "--target", TARGET]);
    let there = libs.is_some_and(|path| {
        std::fs::read_dir(path).is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
            })
        })
    });
    let target = if there {
        ok(TARGET, "its standard library is installed".to_owned())
    } else {
        let hint = "only for `crate = …` tasks: rustup target add wasm32-wasip2";
        check(
            TARGET,
            CheckState::Warning,
            "its standard library is not installed".to_owned(),
            Some(hint),
        )
    };
    vec![ok("cargo", version), target]
}

/// The first line that a tool prints, where it runs.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()
        .map(str::to_owned)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
