//! Copies standard input to standard output to its end, and says on standard error how many bytes there were.

use std::io;

fn main() -> io::Result<()> {
    let copied = io::copy(&mut io::stdin().lock(), &mut io::stdout().lock())?;
    eprintln!("{copied} bytes");
    Ok(())
}
