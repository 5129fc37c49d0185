//! Counts the words of one text, named by the only argument, and leaves `counts/<text>.json`. It uses nothing but `std` and
//! a JSON writer, so the same component runs under any WASI runtime: `sykli exec` and others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(text) = std::env::args().nth(1) else {
        eprintln!("error: which text? `args = [\"{{item}}\"]`");
        return ExitCode::from(2);
    };
    match run(&text, Path::new("/in"), Path::new("/out")) {
        Ok(words) => {
            println!("{text}: {words} words");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {text}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts `text` below `inputs` into a file below `outputs`; how many words there were.
fn run(text: &str, inputs: &Path, outputs: &Path) -> std::io::Result<u64> {
    let bytes = fs::read(inputs.join(text))?;
    // A stray byte of another encoding must not hide the rest of a text.
    let counts = count(&String::from_utf8_lossy(&bytes));
    let file = outputs.join(format!("counts/{text}.json"));
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, serde_json::to_string(&counts)?)?;
    Ok(counts.values().sum())
}

/// How often each word stands in the text. A word is letters and digits, with apostrophes inside; capitals do not matter.
fn count(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let plain = text.replace('\u{2019}', "'");
    for word in plain.split(|character: char| !character.is_alphanumeric() && character != '\'') {
        let word = word.trim_matches('\'');
        if !word.is_empty() {
            *counts.entry(word.to_lowercase()).or_insert(0) += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitals_punctuation_and_quotes_do_not_make_words() {
        let counts = count("The cat, the CAT's \u{2018}hat\u{2019}; don\u{2019}t -- Ärger! 1865");
        let expected = [
            ("1865", 1),
            ("cat", 1),
            ("cat's", 1),
            ("don't", 1),
            ("the", 2),
            ("ärger", 1),
        ];
        for (word, times) in expected {
            assert_eq!(counts.get(word), Some(&times), "{word}: {counts:?}");
        }
    }

    #[test]
    fn a_text_in_a_folder_leaves_its_counts_in_one() {
        let root = std::env::temp_dir().join(format!("wordcount-map-{}", std::process::id()));
        fs::create_dir_all(root.join("in/texts/old")).unwrap();
        fs::write(root.join("in/texts/old/a.txt"), b"one two two \xff three").unwrap();
        let words = run("texts/old/a.txt", &root.join("in"), &root.join("out")).unwrap();
        assert_eq!(words, 4);
        let left = fs::read_to_string(root.join("out/counts/texts/old/a.txt.json")).unwrap();
        assert_eq!(left, r#"{"one":1,"three":1,"two":2}"#);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_missing_text_is_an_error() {
        assert!(run("no.txt", Path::new("/nowhere"), Path::new("/nowhere")).is_err());
    }
}
