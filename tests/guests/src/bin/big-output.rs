//! `big-output BYTES FILES`: one file of so many bytes, and so many small ones in folders of a hundred; always the same
//! content. For the way of outputs into the store.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u64>().unwrap_or(0));
    let (bytes, files) = (arguments.next().unwrap_or(0), arguments.next().unwrap_or(0));
    let mut big = BufWriter::new(File::create("/out/big.bin")?);
    let mut state = 1u64;
    for _ in 0..bytes / 8 {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        big.write_all(&state.to_le_bytes())?;
    }
    big.write_all(&vec![0; (bytes % 8) as usize])?;
    big.flush()?;
    for i in 0..files {
        let folder = format!("/out/small/{:03}", i / 100);
        fs::create_dir_all(&folder)?;
        fs::write(format!("{folder}/{i}.txt"), format!("file {i}\n"))?;
    }
    println!("{bytes} bytes, {files} files");
    Ok(())
}
