//! Uses everything of the task interface: reports progress, logs at every level, and prints what it was given.

use std::process::ExitCode;

use sykli_guest::log::{self, Level};
use sykli_guest::{attempt, item, name, params, progress, shard};

fn main() -> ExitCode {
    sykli_guest::run(task)
}

fn task() -> sykli_guest::Result<()> {
    let steps = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(4);
    for done in 1..=steps {
        progress(done, steps, format!("step {done}"));
    }
    for level in [
        Level::Trace,
        Level::Debug,
        Level::Info,
        Level::Warn,
        Level::Error,
    ] {
        log::log(
            level,
            "a line",
            &[("level", &format!("{level:?}")), ("steps", &steps)],
        );
    }
    let params: serde_json::Value = params()?;
    println!("name {}", name());
    println!("params {params}");
    println!("shard {} of {}", shard().index, shard().count);
    println!("item {}", item().as_deref().unwrap_or("none"));
    println!("attempt {}", attempt());
    Ok(())
}
