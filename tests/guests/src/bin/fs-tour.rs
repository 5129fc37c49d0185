//! Uses `std::fs` in all its breadth, in the folder that it is told (`/tmp` unless given), and prints a transcript: the
//! same one on a real file system and in the sandbox, but for what is said to differ.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

fn main() {
    let root = std::env::args().nth(1).unwrap_or_else(|| "/tmp".to_owned());
    let root = format!("{root}/tour");
    for (name, step) in STEPS {
        let folder = format!("{root}/{name}");
        let result = fs::create_dir_all(&folder).and_then(|()| step(Path::new(&folder)));
        match result {
            Ok(transcript) => println!("{name}: {transcript}"),
            Err(error) => println!("{name}: FAILED: {:?}: {error}", error.kind()),
        }
    }
    match fs::remove_dir_all(&root) {
        Ok(()) => println!("cleaned: {}", !Path::new(&root).exists()),
        Err(error) => println!("cleaned: FAILED: {:?}: {error}", error.kind()),
    }
}

type Step = fn(&Path) -> io::Result<String>;

const STEPS: &[(&str, Step)] = &[
    ("write-read", write_read),
    ("append", append),
    ("truncate", truncate),
    ("seek", seek),
    ("overwrite", overwrite),
    ("create-new", create_new),
    ("lines", lines),
    ("large", large),
    ("folders", folders),
    ("listing", listing),
    ("rename", rename),
    ("rename-folder", rename_folder),
    ("remove", remove),
    ("metadata", metadata),
    ("times", times),
    ("symlink", symlink),
    ("symlink-loop", symlink_loop),
    ("hard-link", hard_link),
    ("copy", copy),
    ("open-removed", open_removed),
    ("two-handles", two_handles),
    ("odd-names", odd_names),
    ("wrong-kinds", wrong_kinds),
    ("paths", paths),
];

fn kind<T>(result: io::Result<T>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        // The standard library of this target has no kind for it yet.
        Err(error) if error.to_string().contains("not empty") => "DirectoryNotEmpty".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn write_read(at: &Path) -> io::Result<String> {
    fs::write(at.join("a"), "hello")?;
    fs::write(at.join("empty"), "")?;
    Ok(format!(
        "{:?} {:?}",
        fs::read_to_string(at.join("a"))?,
        fs::read(at.join("empty"))?
    ))
}

fn append(at: &Path) -> io::Result<String> {
    for part in ["one ", "two ", "three"] {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(at.join("a"))?
            .write_all(part.as_bytes())?;
    }
    fs::read_to_string(at.join("a"))
}

fn truncate(at: &Path) -> io::Result<String> {
    fs::write(at.join("a"), "0123456789")?;
    let file = OpenOptions::new().write(true).open(at.join("a"))?;
    file.set_len(4)?;
    file.set_len(6)?;
    Ok(format!("{:?}", fs::read(at.join("a"))?))
}

fn seek(at: &Path) -> io::Result<String> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(at.join("a"))?;
    file.write_all(b"0123456789")?;
    file.seek(SeekFrom::Start(3))?;
    file.write_all(b"xy")?;
    file.seek(SeekFrom::End(2))?;
    file.write_all(b"z")?;
    let place = file.seek(SeekFrom::Current(-4))?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;
    let before = kind(file.seek(SeekFrom::Current(-100)));
    Ok(format!(
        "{place} {rest:?} {:?} {before}",
        fs::read(at.join("a"))?
    ))
}

fn overwrite(at: &Path) -> io::Result<String> {
    fs::write(at.join("a"), "a long text")?;
    fs::write(at.join("a"), "short")?;
    fs::read_to_string(at.join("a"))
}

fn create_new(at: &Path) -> io::Result<String> {
    let open = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(at.join("a"))
    };
    Ok(format!("{} {}", kind(open()), kind(open())))
}

fn lines(at: &Path) -> io::Result<String> {
    fs::write(at.join("a"), "one\ntwo\r\nthree")?;
    let lines: io::Result<Vec<_>> = BufReader::new(File::open(at.join("a"))?).lines().collect();
    Ok(lines?.join("|"))
}

fn large(at: &Path) -> io::Result<String> {
    let block: Vec<u8> = (0..1 << 16).map(|i| (i % 251) as u8).collect();
    let mut file = File::create(at.join("a"))?;
    for _ in 0..64 {
        file.write_all(&block)?;
    }
    drop(file);
    let mut file = File::open(at.join("a"))?;
    file.seek(SeekFrom::Start((1 << 20) - 2))?;
    let mut four = [0; 4];
    file.read_exact(&mut four)?;
    let sum = fs::read(at.join("a"))?
        .iter()
        .map(|&byte| u64::from(byte))
        .sum::<u64>();
    Ok(format!(
        "{} {four:?} {sum}",
        fs::metadata(at.join("a"))?.len()
    ))
}

fn folders(at: &Path) -> io::Result<String> {
    fs::create_dir(at.join("a"))?;
    let again = kind(fs::create_dir(at.join("a")));
    let orphan = kind(fs::create_dir(at.join("x/y")));
    fs::create_dir_all(at.join("b/c/d"))?;
    fs::write(at.join("b/c/d/e"), "e")?;
    let full = kind(fs::remove_dir(at.join("b")));
    fs::remove_dir(at.join("a"))?;
    fs::remove_dir_all(at.join("b"))?;
    Ok(format!(
        "{again} {orphan} {full} {} {}",
        at.join("a").exists(),
        at.join("b").exists()
    ))
}

fn listing(at: &Path) -> io::Result<String> {
    for name in ["zebra", "apple", "mango"] {
        fs::write(at.join(name), name)?;
    }
    fs::create_dir(at.join("folder"))?;
    // Sorted here: what order the sandbox gives is the business of another guest.
    let mut names = Vec::new();
    for entry in fs::read_dir(at)? {
        let entry = entry?;
        let mark = if entry.file_type()?.is_dir() { "/" } else { "" };
        names.push(format!("{}{mark}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    Ok(names.join(" "))
}

fn rename(at: &Path) -> io::Result<String> {
    fs::write(at.join("a"), "a")?;
    fs::write(at.join("b"), "b")?;
    fs::rename(at.join("a"), at.join("b"))?;
    let missing = kind(fs::rename(at.join("a"), at.join("c")));
    fs::rename(at.join("b"), at.join("b"))?;
    Ok(format!(
        "{} {missing} {}",
        fs::read_to_string(at.join("b"))?,
        at.join("a").exists()
    ))
}

fn rename_folder(at: &Path) -> io::Result<String> {
    fs::create_dir_all(at.join("a/b"))?;
    fs::write(at.join("a/b/c"), "c")?;
    fs::rename(at.join("a"), at.join("moved"))?;
    let into_itself = fs::rename(at.join("moved"), at.join("moved/b/moved")).is_err();
    fs::create_dir(at.join("empty"))?;
    fs::rename(at.join("moved"), at.join("empty"))?;
    let over_full = {
        fs::create_dir(at.join("other"))?;
        kind(fs::rename(at.join("other"), at.join("empty")))
    };
    let onto_file = {
        fs::write(at.join("file"), "")?;
        kind(fs::rename(at.join("other"), at.join("file")))
    };
    Ok(format!(
        "{} {into_itself} {over_full} {onto_file}",
        fs::read_to_string(at.join("empty/b/c"))?
    ))
}

fn remove(at: &Path) -> io::Result<String> {
    fs::write(at.join("a"), "")?;
    fs::remove_file(at.join("a"))?;
    Ok(format!(
        "{} {}",
        kind(fs::remove_file(at.join("a"))),
        kind(fs::remove_dir(at.join("a")))
    ))
}

fn metadata(at: &Path) -> io::Result<String> {
    fs::write(at.join("a"), "four")?;
    let (file, folder) = (fs::metadata(at.join("a"))?, fs::metadata(at)?);
    let missing = kind(fs::metadata(at.join("missing")));
    Ok(format!(
        "{} {} {} {missing}",
        file.is_file(),
        file.len(),
        folder.is_dir()
    ))
}

fn times(at: &Path) -> io::Result<String> {
    let file = File::create(at.join("a"))?;
    let set = kind(file.set_modified(std::time::UNIX_EPOCH));
    Ok(format!("{set} {}", file.metadata()?.modified().is_ok()))
}

#[allow(deprecated)]
fn symlink(at: &Path) -> io::Result<String> {
    fs::create_dir(at.join("folder"))?;
    fs::write(at.join("folder/a"), "behind")?;
    fs::soft_link("folder/a", at.join("file-link"))?;
    fs::soft_link("folder", at.join("folder-link"))?;
    fs::soft_link("missing", at.join("dangling"))?;
    let about = fs::symlink_metadata(at.join("file-link"))?;
    let through = fs::read_to_string(at.join("folder-link/a"))?;
    let dangling = kind(fs::read(at.join("dangling")));
    let aim = fs::read_link(at.join("file-link"))?;
    fs::write(at.join("file-link"), "changed")?;
    fs::remove_file(at.join("file-link"))?;
    let kept = fs::read_to_string(at.join("folder/a"))?;
    Ok(format!(
        "{} {through} {dangling} {} {kept}",
        about.file_type().is_symlink(),
        aim.display()
    ))
}

#[allow(deprecated)]
fn symlink_loop(at: &Path) -> io::Result<String> {
    fs::soft_link("b", at.join("a"))?;
    fs::soft_link("a", at.join("b"))?;
    Ok(format!("{}", fs::read(at.join("a")).is_err()))
}

fn hard_link(at: &Path) -> io::Result<String> {
    fs::write(at.join("a"), "first")?;
    fs::hard_link(at.join("a"), at.join("b"))?;
    fs::write(at.join("b"), "second")?;
    let shared = fs::read_to_string(at.join("a"))?;
    fs::remove_file(at.join("a"))?;
    Ok(format!("{shared} {}", fs::read_to_string(at.join("b"))?))
}

fn copy(at: &Path) -> io::Result<String> {
    fs::write(at.join("a"), "copied")?;
    let bytes = fs::copy(at.join("a"), at.join("b"))?;
    fs::write(at.join("a"), "changed")?;
    Ok(format!("{bytes} {}", fs::read_to_string(at.join("b"))?))
}

fn open_removed(at: &Path) -> io::Result<String> {
    fs::write(at.join("a"), "still here")?;
    let mut file = File::open(at.join("a"))?;
    fs::remove_file(at.join("a"))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

fn two_handles(at: &Path) -> io::Result<String> {
    let mut writer = File::create(at.join("a"))?;
    let mut reader = File::open(at.join("a"))?;
    writer.write_all(b"seen at once")?;
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    let refused = kind(reader.write_all(b"x"));
    Ok(format!("{text} {}", refused != "ok"))
}

fn odd_names(at: &Path) -> io::Result<String> {
    let names = [
        " ",
        "a b",
        "ünï",
        "日本",
        "..a",
        "a..",
        "...",
        "-x",
        "#",
        "CON",
        "a\nb",
        "\u{1f600}",
    ];
    for name in names {
        fs::write(at.join(name), name)?;
    }
    let kept = names
        .iter()
        .filter(|name| fs::read_to_string(at.join(name)).is_ok_and(|text| text == **name))
        .count();
    let listed = fs::read_dir(at)?.count();
    let long = kind(fs::write(at.join("n".repeat(255)), ""));
    let too_long = fs::write(at.join("n".repeat(5000)), "").is_err();
    Ok(format!(
        "{kept} of {} {listed} {long} {too_long}",
        names.len()
    ))
}

fn wrong_kinds(at: &Path) -> io::Result<String> {
    fs::write(at.join("file"), "")?;
    fs::create_dir(at.join("folder"))?;
    Ok(format!(
        "{} {} {} {} {}",
        fs::read(at.join("folder")).is_err(),
        kind(fs::read_dir(at.join("file"))),
        kind(fs::write(at.join("file/below"), "")),
        fs::remove_file(at.join("folder")).is_err(),
        fs::write(at.join("folder"), "").is_err(),
    ))
}

fn paths(at: &Path) -> io::Result<String> {
    fs::create_dir_all(at.join("a/b"))?;
    fs::write(at.join("a/b/c"), "c")?;
    let ways = [
        "a/b/c",
        "./a/b/c",
        "a//b/c",
        "a/./b/./c",
        "a/b/../b/c",
        "a/../a/b/c",
    ];
    let found = ways
        .iter()
        .filter(|way| fs::read(at.join(way)).is_ok())
        .count();
    let slash = kind(fs::read(at.join("a/b/c/")));
    let missing = kind(fs::read(at.join("a/x/../b/c")));
    Ok(format!("{found} of {} {slash} {missing}", ways.len()))
}
