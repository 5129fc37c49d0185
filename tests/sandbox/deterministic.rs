//! A pure task gives the same every time, whatever runs beside it.

use crate::common::{case, succeeded};

fn transcript() -> (String, Vec<[u8; 32]>) {
    let task = case("determinism", &[])
        .file("z.txt", "z")
        .file("a/b.txt", "b")
        .file("A.txt", "A");
    let outcome = task.run();
    let files = outcome.changes.iter().flat_map(|changes| &changes.files);
    (
        succeeded(&outcome),
        files.map(|file| file.content.blake3().unwrap()).collect(),
    )
}

#[test]
fn time_randomness_and_orders_are_the_same_under_load() {
    let first = transcript();
    assert!(
        first.0.contains("slept true"),
        "sleeping passes virtual time: {}",
        first.0
    );
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(transcript)).collect();
        for run in runs {
            assert_eq!(run.join().unwrap(), first);
        }
    });
}

#[test]
fn folders_are_listed_in_byte_order() {
    let said = transcript().0;
    let names: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("/tmp/order/"))
        .collect();
    let names: Vec<_> = names
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(names, ["10", "9", "Mango", "apple", "zebra", "é"]);
}
