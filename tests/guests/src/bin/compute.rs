//! `compute [integers|floats|hash|dirty|read] [ROUNDS] [FOLDER]`: work of a kind, for what fuel, the determinism settings,
//! memory and the file system cost. Prints a result that depends on every step.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read};

fn main() {
    let kind = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "integers".to_owned());
    let rounds = std::env::args()
        .nth(2)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    match kind.as_str() {
        "integers" => println!("integers {}", integers(rounds)),
        "floats" => println!("floats {:.6e}", floats(rounds)),
        "hash" => println!("hash {:016x}", hash(rounds)),
        "dirty" => println!("dirty {}", dirty(rounds)),
        "read" => {
            let folder = std::env::args().nth(3).unwrap_or_else(|| "/in".to_owned());
            println!(
                "read {}",
                read(rounds, &folder).expect("the files can be read")
            );
        }
        other => {
            eprintln!("no such work: {other}");
            std::process::exit(2);
        }
    }
}

/// The longest Collatz chain below a million: branches and multiplications.
fn integers(rounds: u32) -> u64 {
    let mut longest = (0, 0);
    for _ in 0..rounds {
        for start in 1..black_box(1_000_000u64) {
            let (mut n, mut steps) = (start, 0u64);
            while n != 1 {
                n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
                steps += 1;
            }
            longest = longest.max((steps, start));
        }
    }
    longest.1
}

/// Product of two 256 × 256 matrices.
fn floats(rounds: u32) -> f64 {
    const N: usize = 256;
    let a: Vec<f64> = (0..N * N).map(|i| (i % 17) as f64 / 17.0).collect();
    let b: Vec<f64> = (0..N * N).map(|i| (i % 13) as f64 / 13.0).collect();
    let mut c = vec![0.0; N * N];
    for _ in 0..rounds {
        for (row, out) in a.chunks_exact(N).zip(c.chunks_exact_mut(N)) {
            for (&x, line) in row.iter().zip(b.chunks_exact(N)) {
                for (sum, &y) in out.iter_mut().zip(line) {
                    *sum += x * y;
                }
            }
        }
    }
    c.iter().sum()
}

/// FNV-1a over 16 MiB.
fn hash(rounds: u32) -> u64 {
    let data: Vec<u8> = (0..16u32 << 20)
        .map(|i| (i.wrapping_mul(2654435761) >> 24) as u8)
        .collect();
    let mut hash = 0xcbf29ce484222325;
    for _ in 0..rounds {
        for &byte in &data {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100000001b3);
        }
    }
    hash
}

/// Writes to every page of so many MiB; counts the pages.
fn dirty(mib: u32) -> usize {
    let memory = black_box(vec![1u8; (mib as usize) << 20]);
    memory
        .iter()
        .step_by(4096)
        .map(|&byte| usize::from(byte))
        .sum()
}

/// Reads every file of a folder, 64 KiB a call; counts bytes and sums the first of each call.
fn read(rounds: u32, folder: &str) -> io::Result<String> {
    let mut buffer = vec![0; 64 << 10];
    let (mut bytes, mut sum) = (0, 0u64);
    for _ in 0..rounds {
        for entry in fs::read_dir(folder)? {
            let mut file = File::open(entry?.path())?;
            loop {
                let count = file.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                bytes += count;
                sum += u64::from(buffer[0]);
            }
        }
    }
    Ok(format!("{bytes} bytes, {sum}"))
}
