//! Adds up what the instances of `map` counted: leaves `counts.json`, and prints the most frequent words as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;
use sykli_guest::{Result, inputs, outputs, param_or, progress};

/// What the project gets.
#[derive(Debug, Serialize)]
struct Counts {
    texts: usize,
    /// Words in all.
    words: u64,
    /// Different words.
    distinct: usize,
    /// How often each stands in all the texts.
    counts: BTreeMap<String, u64>,
}

fn main() -> ExitCode {
    sykli_guest::run(task)
}

fn task() -> Result<()> {
    let (top, at_least) = (param_or("top", 20)?, param_or("at_least", 1)?);
    let counts = add_up()?;
    print!("{}", table(&counts, top, at_least));
    outputs::json("counts.json", &counts)
}

fn add_up() -> Result<Counts> {
    let mapped = inputs::from_task("map");
    let files = mapped.list("counts")?;
    let mut counts = BTreeMap::new();
    for (done, file) in files.iter().enumerate() {
        progress(done as u64, files.len() as u64, file);
        let part: BTreeMap<String, u64> = mapped.json(file)?;
        for (word, times) in part {
            *counts.entry(word).or_insert(0) += times;
        }
    }
    Ok(Counts {
        texts: files.len(),
        words: counts.values().sum(),
        distinct: counts.len(),
        counts,
    })
}

/// The `top` most frequent words of `at_least` so many letters, as text with bars.
fn table(counts: &Counts, top: usize, at_least: usize) -> String {
    const BAR: u64 = 32;
    let mut words: Vec<_> = counts
        .counts
        .iter()
        .filter(|(word, _)| word.chars().count() >= at_least)
        .collect();
    words.sort_by_key(|&(word, &times)| (std::cmp::Reverse(times), word));
    words.truncate(top);
    let widest = words
        .iter()
        .map(|(word, _)| word.chars().count())
        .max()
        .unwrap_or(0);
    let most = words.first().map_or(1, |&(_, &times)| times);
    let mut out = format!(
        "{} words, {} different, in {} texts\n",
        counts.words, counts.distinct, counts.texts
    );
    for (word, &times) in words {
        let bar = "█".repeat((times * BAR).div_ceil(most) as usize);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{word:>widest$} {times:>6} {bar}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use sykli_guest::testing::Fake;

    #[test]
    fn counts_add_up_over_texts() {
        let host = Fake::new()
            .input_from("map", "counts/texts/a.txt.json", r#"{"one":1,"two":2}"#)
            .input_from("map", "counts/texts/b/c.txt.json", r#"{"two":3}"#)
            .enter();
        task().unwrap();
        let counts = String::from_utf8(host.output("counts.json").unwrap()).unwrap();
        assert!(
            counts.contains("\"words\": 6") && counts.contains("\"two\": 5"),
            "{counts}"
        );
        assert_eq!(host.progress().len(), 2);
    }

    #[test]
    fn the_table_is_sorted_by_count_then_word_and_filtered_by_length() {
        let counts = [("a", 9), ("bee", 2), ("ant", 2), ("wasp", 4)]
            .map(|(word, times)| (word.to_owned(), times));
        let counts = Counts {
            texts: 1,
            words: 17,
            distinct: 4,
            counts: counts.into(),
        };
        let table = table(&counts, 2, 3);
        let words: Vec<_> = table
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(words, ["wasp", "ant"]);
    }

    #[test]
    fn damaged_counts_are_named() {
        let _host = Fake::new().input_from("map", "counts/a.json", "{").enter();
        assert!(task().unwrap_err().to_string().contains("counts/a.json"));
    }
}
