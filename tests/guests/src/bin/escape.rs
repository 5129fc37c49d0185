//! `escape [CANARY]`: tries every route to a file of the host's (`/etc/passwd`, and the path of a canary that the test
//! laid out), and every way to change what it may only read. One line a route; the exit code is 1 where one led out.

use std::fs::{self, OpenOptions};
use std::io;

fn main() {
    let canary = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "/etc/hostname".to_owned());
    let mut escaped = 0;
    let mut tell = |route: &str, result: io::Result<String>| match result {
        Ok(what) => {
            escaped += 1;
            println!("ESCAPED {route}: {what}");
        }
        Err(error) => println!("refused {route}: {:?}", error.kind()),
    };
    for target in ["/etc/passwd", canary.as_str()] {
        for route in routes(target) {
            tell(&route, read(&route));
        }
        through_links(target, &mut tell);
    }
    around(&mut tell);
    changes(&mut tell);
    std::process::exit(i32::from(escaped > 0));
}

fn read(path: &str) -> io::Result<String> {
    fs::read(path).map(|bytes| format!("{} bytes", bytes.len()))
}

/// The target's path, dressed up in all the ways that fooled somebody's path check.
fn routes(target: &str) -> Vec<String> {
    let relative = target.trim_start_matches('/');
    let up = "../".repeat(16);
    let mut routes = vec![
        target.to_owned(),
        relative.to_owned(),
        format!("/{target}"),
        format!("{target}/"),
        format!("{target}/."),
        format!("{up}{relative}"),
        format!("./{up}{relative}"),
        format!("/{up}{relative}"),
        format!("/proc/self/root{target}"),
        format!("/proc/1/root{target}"),
        format!("/dev/fd/../../..{target}"),
        format!("{target}\0.txt"),
        format!("\\..\\..\\{relative}"),
        format!("%2e%2e/{relative}"),
        format!("~{target}"),
    ];
    for mount in ["/in", "/out", "/tmp", "."] {
        routes.push(format!("{mount}/{up}{relative}"));
        routes.push(format!("{mount}/missing/../../{up}{relative}"));
        routes.push(format!("{mount}/.{target}"));
        routes.push(format!("{mount}/..{target}"));
        routes.push(format!("{mount}/{target}"));
    }
    routes
}

/// Symbolic and hard links that point outside, followed in every position.
fn through_links(target: &str, tell: &mut dyn FnMut(&str, io::Result<String>)) {
    let relative = format!("../../../../../..{target}");
    for (i, aim) in [
        target,
        relative.as_str(),
        "/",
        "..",
        "../..",
        "/proc/self/root",
    ]
    .into_iter()
    .enumerate()
    {
        let link = format!("/tmp/link-{i}-{}", target.len());
        match symlink(aim, &link) {
            Ok(()) => {
                tell(&format!("{link} -> {aim}"), read(&link));
                tell(
                    &format!("{link} -> {aim}, as a folder"),
                    read(&format!("{link}{target}")),
                );
                tell(
                    &format!("{link} -> {aim}, then up"),
                    read(&format!("{link}/..{target}")),
                );
                let written = OpenOptions::new()
                    .append(true)
                    .open(&link)
                    .map(|_| "opened for writing".to_owned());
                tell(&format!("{link} -> {aim}, for writing"), written);
                let around = fs::read_dir(&link).and_then(|entries| outside(entries));
                tell(&format!("{link} -> {aim}, listed"), around);
            }
            Err(error) => println!("refused to link {link} -> {aim}: {:?}", error.kind()),
        }
    }
    for (name, from) in [("absolute", target), ("relative", relative.as_str())] {
        let link = format!("/tmp/hard-{name}-{}", target.len());
        let result = fs::hard_link(from, &link).and_then(|()| read(&link));
        tell(&format!("{link} = {from}"), result);
    }
    tell(
        &format!("rename of {target}"),
        fs::rename(target, "/tmp/stolen").and_then(|()| read("/tmp/stolen")),
    );
    tell(
        &format!("copy of {target}"),
        fs::copy(target, "/tmp/copied").map(|bytes| format!("{bytes} bytes")),
    );
    tell(
        &format!("metadata of {target}"),
        fs::metadata(target).map(|about| format!("{} bytes", about.len())),
    );
}

#[allow(deprecated)]
fn symlink(aim: &str, link: &str) -> io::Result<()> {
    // `soft_link` is all that `std` has on this target; it is there, and it is deprecated.
    fs::soft_link(aim, link)
}

/// Folders above and beside what was mounted. Only names that no mount has count as an escape.
fn around(tell: &mut dyn FnMut(&str, io::Result<String>)) {
    for folder in [
        "/",
        "..",
        "/..",
        "/in/..",
        "/out/../..",
        "/home",
        "/root",
        "/etc",
        "/proc",
        "/sys",
        "/dev",
        "/usr",
    ] {
        tell(
            &format!("list of {folder}"),
            fs::read_dir(folder).and_then(|entries| outside(entries)),
        );
    }
}

fn outside(entries: fs::ReadDir) -> io::Result<String> {
    let host = [
        "etc", "usr", "proc", "root", "home", "passwd", "self", "environ", "bin",
    ];
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if host.contains(&name.as_str()) {
            return Ok(name);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "nothing of the host's",
    ))
}

/// Changes to what is read only, and files placed beside the mounts.
fn changes(tell: &mut dyn FnMut(&str, io::Result<String>)) {
    let done = || "done".to_owned();
    tell(
        "new file in /in",
        fs::write("/in/new", "x").map(|()| done()),
    );
    tell(
        "new folder in /in",
        fs::create_dir("/in/folder").map(|()| done()),
    );
    tell("link in /in", symlink("a", "/in/link").map(|()| done()));
    tell(
        "rename into /in",
        fs::write("/tmp/r", "x")
            .and_then(|()| fs::rename("/tmp/r", "/in/r"))
            .map(|()| done()),
    );
    tell("removal of /in", fs::remove_dir_all("/in").map(|()| done()));
    tell("file above", fs::write("/escaped", "x").map(|()| done()));
    tell(
        "file above /out",
        fs::write("/out/../escaped", "x").map(|()| done()),
    );
    tell(
        "rename above",
        fs::write("/tmp/s", "x")
            .and_then(|()| fs::rename("/tmp/s", "/tmp/../s"))
            .map(|()| done()),
    );
    if let Ok(entries) = fs::read_dir("/in") {
        for path in entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
        {
            let name = path.display().to_string();
            tell(
                &format!("write to {name}"),
                OpenOptions::new().write(true).open(&path).map(|_| done()),
            );
            tell(
                &format!("truncation of {name}"),
                fs::File::create(&path).map(|_| done()),
            );
            tell(
                &format!("removal of {name}"),
                fs::remove_file(&path).map(|()| done()),
            );
            tell(
                &format!("rename of {name}"),
                fs::rename(&path, "/tmp/moved").map(|()| done()),
            );
            let linked =
                fs::hard_link(&path, "/tmp/hard").and_then(|()| fs::write("/tmp/hard", "changed"));
            tell(
                &format!("write to {name} by a hard link"),
                linked.map(|()| done()),
            );
        }
    }
}
