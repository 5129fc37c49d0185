//! `compute [integers|floats|hash] [ROUNDS]`: work of three kinds, for what fuel and the determinism settings cost. Prints
//! a result that depends on every step.

use std::hint::black_box;

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
