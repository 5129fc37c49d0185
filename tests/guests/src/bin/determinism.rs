//! Prints all that usually differs between two runs: time, randomness, the order of folders and of `HashMap`s, addresses,
//! times and numbers of files. A pure task prints the same every time and everywhere.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{io, thread};

fn main() -> io::Result<()> {
    let wall = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    };
    let start = Instant::now();
    println!("wall {:?}", wall());
    thread::sleep(Duration::from_millis(250));
    println!("slept {}", start.elapsed() >= Duration::from_millis(250));
    println!("elapsed {:?}", start.elapsed());
    println!("wall later {:?}", wall());

    println!("random {:016x}", RandomState::new().hash_one(1));
    let map: HashMap<u32, u32> = (0..20).map(|i| (i, i * i)).collect();
    println!("map {:?}", map.keys().collect::<Vec<_>>());
    let set: HashSet<String> = (0..20).map(|i| format!("s{i}")).collect();
    println!("set {:?}", set.iter().collect::<Vec<_>>());
    println!("address {:p}", Box::new(1));

    fs::create_dir_all("/tmp/order")?;
    for name in ["zebra", "apple", "Mango", "10", "9", "é"] {
        File::create(format!("/tmp/order/{name}"))?;
    }
    for folder in ["/tmp/order", "/in"] {
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            let about = entry.metadata()?;
            println!(
                "{folder}/{} {} {:?}",
                entry.file_name().to_string_lossy(),
                about.len(),
                about.modified()?
            );
        }
    }
    fs::write(
        "/out/determinism.txt",
        format!("{:?} {map:?}\n", start.elapsed()),
    )?;
    println!("end {:?}", start.elapsed());
    Ok(())
}
