//! Fails at its first attempt and succeeds from the second on: for retries. Only an impure task sees its attempt.

use std::process::ExitCode;

fn main() -> ExitCode {
    let attempt = sykli_guest::attempt();
    if attempt == 1 {
        eprintln!("failing, since this is attempt 1");
        return ExitCode::FAILURE;
    }
    println!("succeeded at attempt {attempt}");
    ExitCode::SUCCESS
}
