//! Packs a crate for release: every input file of it into one archive, and beside it a manifest with the digest of each
//! file and of the whole. The same sources give the same bytes, wherever and whenever: sorted names, no times, no owners.

mod tar;

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use sykli_guest::{Error, Result, inputs, log, outputs, param, progress};

#[derive(Debug, Deserialize)]
struct CargoToml {
    package: Package,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
}

/// What is in a release.
#[derive(Debug, Serialize)]
struct Manifest {
    name: String,
    version: String,
    /// The archive's file name.
    archive: String,
    bytes: u64,
    /// BLAKE3, in hexadecimal.
    digest: String,
    files: Vec<Packed>,
}

#[derive(Debug, Serialize)]
struct Packed {
    path: String,
    bytes: u64,
    digest: String,
}

fn main() -> ExitCode {
    sykli_guest::run(task)
}

fn task() -> Result<()> {
    let folder: String = param("folder")?;
    let Package { name, version } = package(&inputs::read_string(format!("{folder}/Cargo.toml"))?)?;
    let mut archive = tar::Archive::default();
    let mut files = Vec::new();
    let paths = inputs::list(&folder)?;
    for (done, path) in paths.iter().enumerate() {
        progress(done as u64, paths.len() as u64, path);
        let content = inputs::read(path)?;
        let path = path
            .strip_prefix(&folder)
            .unwrap_or(path)
            .trim_start_matches('/')
            .to_owned();
        archive
            .add(&format!("{name}-{version}/{path}"), &content)
            .map_err(|reason| Error::Io {
                action: "pack",
                path: path.clone(),
                source: std::io::Error::other(reason),
            })?;
        files.push(Packed {
            path,
            bytes: content.len() as u64,
            digest: digest(&content),
        });
    }
    let packed = archive.finish();
    let manifest = Manifest {
        archive: format!("{name}-{version}.tar"),
        bytes: packed.len() as u64,
        digest: digest(&packed),
        name,
        version,
        files,
    };
    outputs::write(format!("out/{}", manifest.archive), &packed)?;
    outputs::json("out/manifest.json", &manifest)?;
    log::info(
        "packed",
        &[
            ("archive", &manifest.archive),
            ("files", &manifest.files.len()),
        ],
    );
    println!(
        "{}: {} files, {} bytes, b3:{}",
        manifest.archive,
        manifest.files.len(),
        manifest.bytes,
        manifest.digest
    );
    Ok(())
}

fn package(manifest: &str) -> Result<Package> {
    let parsed: Result<CargoToml, _> = toml::from_str(manifest);
    parsed
        .map(|cargo| cargo.package)
        .map_err(|error| Error::Io {
            action: "understand",
            path: "Cargo.toml".to_owned(),
            source: std::io::Error::other(error.to_string()),
        })
}

fn digest(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sykli_guest::testing::Fake;

    fn fake() -> Fake {
        Fake::new()
            .param("folder", "project")
            .input(
                "project/Cargo.toml",
                "[package]\nname = \"kit\"\nversion = \"1.2.3\"\n",
            )
            .input("project/src/lib.rs", "//! Kit.\n")
    }

    #[test]
    fn the_archive_holds_the_files_and_the_manifest_their_digests() {
        let host = fake().enter();
        task().unwrap();
        assert_eq!(
            host.outputs().unwrap(),
            ["out/kit-1.2.3.tar", "out/manifest.json"]
        );
        let archive = host.output("out/kit-1.2.3.tar").unwrap();
        let manifest = String::from_utf8(host.output("out/manifest.json").unwrap()).unwrap();
        assert!(
            manifest.contains(&digest(&archive)) && manifest.contains(&digest(b"//! Kit.\n")),
            "{manifest}"
        );
        assert!(archive.starts_with(b"kit-1.2.3/Cargo.toml\0"));
    }

    #[test]
    fn the_same_sources_give_the_same_bytes() {
        let build = || {
            let host = fake().enter();
            task().unwrap();
            host.output("out/kit-1.2.3.tar").unwrap()
        };
        assert_eq!(build(), build());
    }

    #[test]
    fn a_manifest_without_a_version_is_an_error() {
        assert!(
            package("[package]\nname = \"kit\"")
                .unwrap_err()
                .to_string()
                .contains("version")
        );
    }
}
