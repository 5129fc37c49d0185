//! `handle-flood [files|folders|sockets] [COUNT]`: opens without ever closing, up to a million times; says after how many
//! it was refused and why, and ends well.

use std::fs::{self, File};
use std::io;
use std::mem::forget;
use std::net::UdpSocket;

fn main() -> io::Result<()> {
    let kind = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "files".to_owned());
    let count = std::env::args()
        .nth(2)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000u32);
    File::create("/tmp/one")?;
    for opened in 0..count {
        let result = match kind.as_str() {
            "folders" => fs::read_dir("/tmp").map(forget),
            "sockets" => UdpSocket::bind("127.0.0.1:0").map(forget),
            _ => File::open("/tmp/one").map(forget),
        };
        if let Err(error) = result {
            println!("{kind}: refused after {opened}: {error}");
            return Ok(());
        }
    }
    println!("{kind}: {count} are open");
    Ok(())
}
