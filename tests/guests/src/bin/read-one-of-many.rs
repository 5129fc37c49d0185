//! Reads one file, named by its argument, of a folder that may hold thousands, and prints its length and first line: what
//! is not read must cost nothing.

use std::{env, fs, process};

fn main() {
    let path = env::args().nth(1).unwrap_or_default();
    match fs::read_to_string(&path) {
        Ok(text) => println!(
            "{} bytes: {}",
            text.len(),
            text.lines().next().unwrap_or("")
        ),
        Err(error) => {
            eprintln!("{path}: {error}");
            process::exit(1);
        }
    }
}
