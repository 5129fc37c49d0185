//! The README's mesh, run as it is printed.

#![allow(clippy::unwrap_used)]

use std::process::Command;

/// The block of commands below a heading.
fn block(heading: &str) -> String {
    let readme = std::fs::read_to_string(sykli_tests::root().join("README.md")).unwrap();
    let (_, section) = readme.split_once(heading).unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

#[test]
fn three_nodes_on_one_machine_work_as_printed() {
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(sykli_tests::sykli(), bin.join("sykli")).unwrap();
    let mesh = home.path().join("mesh").display().to_string();
    let commands = block("## In a mesh").replace("/tmp/mesh", &mesh);
    // Whatever happens, the nodes end with the script.
    let script = format!(
        "set -euo pipefail\nstop() {{ anna node stop --now || true; ben node stop --now || true; }}\ntrap stop EXIT\n\
         {commands}\ncleo report --json > {mesh}/report.json\n"
    );
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let ran = Command::new("bash")
        .args(["-c", &script])
        .env("PATH", path)
        .current_dir(sykli_tests::root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{said}");
    let report = std::fs::read(home.path().join("mesh/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["counts"]["passed"], report["instances"], "{report}");
    let elsewhere = report["elsewhere"].as_array().unwrap();
    let names: Vec<&str> = elsewhere
        .iter()
        .filter_map(|one| one["node"]["name"].as_str())
        .collect();
    assert!(!names.is_empty(), "nothing ran elsewhere: {report}");
    assert!(
        names.iter().all(|name| ["anna", "ben"].contains(name)),
        "{report}"
    );
    assert!(said.contains("⚡"), "{said}");
}
