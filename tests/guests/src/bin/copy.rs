//! `copy FROM TO …`: copies files, or folders with all that is below them, making folders on the way. For pipelines
//! whose outputs a test can foresee.

use std::path::Path;
use std::{env, fs, io, process};

fn main() {
    let paths: Vec<String> = env::args().skip(1).collect();
    for pair in paths.chunks_exact(2) {
        if let Err(error) = copy(Path::new(&pair[0]), Path::new(&pair[1])) {
            eprintln!("copy {} {}: {error}", pair[0], pair[1]);
            process::exit(1);
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).map(|_| ())
}
