//! `disk-fill WAY [FOLDER]`: fills what it may write, in one of many ways, until it is refused; says how far it came and
//! why it ended, and ends well. FOLDER is `/out` unless it is given.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};

fn main() {
    let way = std::env::args().nth(1).unwrap_or_else(|| "big".to_owned());
    let folder = std::env::args().nth(2).unwrap_or_else(|| "/out".to_owned());
    let mut count = 0u64;
    let result = match way.as_str() {
        "big" => big(&folder, &mut count),
        "many" => many(&folder, &mut count),
        "folders" => folders(&folder, &mut count),
        "deep" => deep(&folder, &mut count),
        "sparse" => sparse(&folder, &mut count),
        "hole" => hole(&folder, &mut count),
        "rewrite" => rewrite(&folder, &mut count),
        "links" => links(&folder, &mut count),
        "names" => names(&folder, &mut count),
        other => Err(io::Error::other(format!("no such way: {other}"))),
    };
    match result {
        Ok(()) => println!("{way}: done after {count}"),
        Err(error) => println!("{way}: refused after {count}: {:?}: {error}", error.kind()),
    }
}

/// One file without end; counts MiB.
fn big(folder: &str, count: &mut u64) -> io::Result<()> {
    let mut file = File::create(format!("{folder}/big"))?;
    let block = vec![7; 1 << 20];
    while *count < 1 << 20 {
        file.write_all(&block)?;
        *count += 1;
    }
    Ok(())
}

/// A million empty files.
fn many(folder: &str, count: &mut u64) -> io::Result<()> {
    while *count < 1_000_000 {
        File::create(format!("{folder}/{count}"))?;
        *count += 1;
    }
    Ok(())
}

/// A million folders beside each other.
fn folders(folder: &str, count: &mut u64) -> io::Result<()> {
    while *count < 1_000_000 {
        fs::create_dir(format!("{folder}/d{count}"))?;
        *count += 1;
    }
    Ok(())
}

/// Folders in each other, 10,000 deep.
fn deep(folder: &str, count: &mut u64) -> io::Result<()> {
    let mut path = folder.to_owned();
    while *count < 10_000 {
        path.push_str("/d");
        fs::create_dir(&path)?;
        *count += 1;
    }
    Ok(())
}

/// A length of 2^50 that was never written.
fn sparse(folder: &str, count: &mut u64) -> io::Result<()> {
    let file = File::create(format!("{folder}/sparse"))?;
    file.set_len(1 << 50)?;
    *count = file.metadata()?.len();
    Ok(())
}

/// One byte behind a hole of 2^50.
fn hole(folder: &str, count: &mut u64) -> io::Result<()> {
    let mut file = File::create(format!("{folder}/hole"))?;
    file.seek(SeekFrom::Start(1 << 50))?;
    file.write_all(b"x")?;
    *count = file.metadata()?.len();
    Ok(())
}

/// The same megabyte ten thousand times: must never be refused, since it takes no more room.
fn rewrite(folder: &str, count: &mut u64) -> io::Result<()> {
    let block = vec![7; 1 << 20];
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(format!("{folder}/same"))?;
    while *count < 10_000 {
        file.rewind()?;
        file.write_all(&block)?;
        *count += 1;
    }
    Ok(())
}

/// A million names of one file.
fn links(folder: &str, count: &mut u64) -> io::Result<()> {
    fs::write(format!("{folder}/first"), "x")?;
    while *count < 1_000_000 {
        fs::hard_link(format!("{folder}/first"), format!("{folder}/l{count}"))?;
        *count += 1;
    }
    Ok(())
}

/// Names of growing length, to a megabyte.
fn names(folder: &str, count: &mut u64) -> io::Result<()> {
    let mut length = 1;
    while length <= 1 << 20 {
        File::create(format!("{folder}/{}", "n".repeat(length)))?;
        *count = length as u64;
        length *= 2;
    }
    Ok(())
}
