//! A task that uses the SDK: parameters, progress, a log. Its inputs are below /in, what it leaves below /out is kept.

use std::process::ExitCode;

use serde::Deserialize;
use sykli_guest::{log, outputs, params, progress};

#[derive(Deserialize)]
struct Params {
    name: String,
}

fn main() -> ExitCode {
    sykli_guest::run(task)
}

fn task() -> sykli_guest::Result<()> {
    let Params { name } = params()?;
    progress(0, 1, "greeting");
    outputs::write("@OUTPUT@", format!("hello, {name}\n"))?;
    log::info("greeted", &[("name", &name)]);
    progress(1, 1, "done");
    Ok(())
}

#[cfg(test)]
mod tests {
    use sykli_guest::testing::Fake;

    #[test]
    fn greets() {
        let host = Fake::new().param("name", "test").enter();
        super::task().unwrap();
        assert_eq!(host.output("@OUTPUT@").unwrap(), b"hello, test\n");
    }
}
