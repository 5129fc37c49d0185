//! Deploys a release, dry: checks that the archive is the one that the manifest describes and that the version may still be
//! released, and says what would be sent where. Nothing is sent: the task has no network. Leaves `out/deploy.json`.

use std::cmp::Ordering;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use sykli_guest::{Result, inputs, outputs, param};

/// What the build task left.
#[derive(Debug, Deserialize)]
struct Manifest {
    name: String,
    version: String,
    archive: String,
    bytes: u64,
    digest: String,
    files: Vec<serde::de::IgnoredAny>,
}

/// A release that is out already.
#[derive(Debug, Deserialize)]
struct Release {
    version: String,
    digest: String,
}

/// What deploying would do.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Plan {
    target: String,
    /// `upload`, or `nothing` where this very release is out.
    action: &'static str,
    archive: String,
    digest: String,
    replaces: Option<String>,
    dry: bool,
}

fn main() -> ExitCode {
    sykli_guest::run(task)
}

fn task() -> Result<(), String> {
    let text = |error: sykli_guest::Error| error.to_string();
    let target: String = param("target").map_err(text)?;
    let built = inputs::from_task("build");
    let manifest: Manifest = built.json("out/manifest.json").map_err(text)?;
    let archive = built
        .read(format!("out/{}", manifest.archive))
        .map_err(text)?;
    let releases: Vec<Release> = inputs::json("releases.json").map_err(text)?;

    verify(&manifest, &archive)?;
    let plan = plan(target, &manifest, &releases)?;
    match plan.action {
        "upload" => println!(
            "would upload {} {} ({} files, {} bytes) to {}, after {}",
            manifest.name,
            manifest.version,
            manifest.files.len(),
            manifest.bytes,
            plan.target,
            plan.replaces.as_deref().unwrap_or("no other")
        ),
        _ => println!("{} {} is out already", manifest.name, manifest.version),
    }
    println!("dry run: nothing left this machine");
    outputs::json("out/deploy.json", &plan).map_err(text)
}

/// Whether these are the bytes that were built and tested.
fn verify(manifest: &Manifest, archive: &[u8]) -> Result<(), String> {
    let digest = blake3::hash(archive).to_hex();
    if digest.as_str() != manifest.digest || archive.len() as u64 != manifest.bytes {
        return Err(format!(
            "{}: digest {digest}, but the manifest says {}",
            manifest.archive, manifest.digest
        ));
    }
    Ok(())
}

fn plan(target: String, manifest: &Manifest, releases: &[Release]) -> Result<Plan, String> {
    let version = version(&manifest.version)?;
    let mut latest: Option<(Vec<u64>, &str)> = None;
    let mut action = "upload";
    for release in releases {
        let other = self::version(&release.version)?;
        if version == other {
            if release.digest != manifest.digest {
                return Err(format!(
                    "version {} is out with other content: give this one a new version",
                    manifest.version
                ));
            }
            action = "nothing";
        }
        if latest
            .as_ref()
            .is_none_or(|(highest, _)| other.cmp(highest) == Ordering::Greater)
        {
            latest = Some((other, &release.version));
        }
    }
    match latest {
        Some((highest, name)) if highest > version => Err(format!(
            "version {} is older than {name}, which is out",
            manifest.version
        )),
        latest => Ok(Plan {
            target,
            action,
            archive: manifest.archive.clone(),
            digest: manifest.digest.clone(),
            replaces: latest
                .map(|(_, name)| name.to_owned())
                .filter(|_| action == "upload"),
            dry: true,
        }),
    }
}

/// Major, minor, patch.
fn version(text: &str) -> Result<Vec<u64>, String> {
    let parts: Result<Vec<u64>, _> = text.split('.').map(str::parse).collect();
    parts
        .ok()
        .filter(|parts| parts.len() == 3)
        .ok_or_else(|| format!("`{text}` is not a version: write `1.2.3`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sykli_guest::testing::Fake;

    const ARCHIVE: &[u8] = b"the archive";

    fn deploy(version: &str, releases: &str, archive: &[u8]) -> Result<String, String> {
        let digest = blake3::hash(ARCHIVE).to_hex();
        let manifest = format!(
            r#"{{"name":"kit","version":"{version}","archive":"kit.tar","bytes":11,"digest":"{digest}","files":[{{}}]}}"#
        );
        let host = Fake::new()
            .param("target", "somewhere")
            .input("releases.json", releases.replace("SAME", &digest))
            .input_from("build", "out/manifest.json", manifest)
            .input_from("build", "out/kit.tar", archive)
            .enter();
        task()?;
        Ok(String::from_utf8(host.output("out/deploy.json").unwrap()).unwrap())
    }

    #[test]
    fn a_newer_version_would_be_uploaded() {
        let plan = deploy("1.10.0", r#"[{"version":"1.9.0","digest":"x"}]"#, ARCHIVE).unwrap();
        assert!(
            plan.contains(r#""action": "upload""#) && plan.contains(r#""replaces": "1.9.0""#),
            "{plan}"
        );
    }

    #[test]
    fn the_same_release_is_left_alone() {
        let plan = deploy("1.0.0", r#"[{"version":"1.0.0","digest":"SAME"}]"#, ARCHIVE).unwrap();
        assert!(plan.contains(r#""action": "nothing""#), "{plan}");
    }

    #[test]
    fn a_taken_version_an_old_one_and_other_bytes_are_refused() {
        let taken = deploy("1.0.0", r#"[{"version":"1.0.0","digest":"x"}]"#, ARCHIVE);
        assert!(taken.unwrap_err().contains("other content"));
        let old = deploy("1.0.0", r#"[{"version":"2.0.0","digest":"x"}]"#, ARCHIVE);
        assert!(old.unwrap_err().contains("older than 2.0.0"));
        let changed = deploy("1.0.0", "[]", b"the ArchivE");
        assert!(changed.unwrap_err().contains("digest"));
        assert!(deploy("1.0", "[]", ARCHIVE).is_err());
    }
}
