//! Sleeps in the host and never ends: burns no fuel of its own there.

use std::thread::sleep;
use std::time::Duration;

fn main() {
    println!("sleeping");
    loop {
        sleep(Duration::from_nanos(u64::MAX));
    }
}
