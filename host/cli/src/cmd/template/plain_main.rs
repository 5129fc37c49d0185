//! A task: an ordinary program. Its inputs are below /in, what it leaves below /out is kept.

use std::{env, fs, io};

fn main() -> io::Result<()> {
    let name = env::args().nth(1).unwrap_or_else(|| "world".to_owned());
    let text = format!("hello, {name}\n");
    fs::write("/out/@OUTPUT@", &text)?;
    print!("{text}");
    Ok(())
}
