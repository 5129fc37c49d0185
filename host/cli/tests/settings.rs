//! Settings as a user meets them: precedence with origins, a project that only narrows, checks with places.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Home, answer, valid, write};

#[test]
fn show_says_where_each_value_comes_from() {
    let home = Home::new();
    write(
        &home.user_config(),
        "jobs = 6\n\n[cache]\nmax_size = \"5GB\"\n",
    );
    home.write(".sykli/config.toml", "# only narrows\njobs = 2\n");
    let shown = answer(
        home.command(&["config", "show", "--origin"])
            .env("SYKLI_COLOR", "never"),
    );
    assert_eq!(shown.code, 0, "{}", shown.err);
    let line = |key: &str| {
        shown
            .out
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        line("jobs").contains("project file") && line("jobs").contains(".sykli/config.toml:2"),
        "{}",
        shown.out
    );
    assert!(
        line("color").contains("variable SYKLI_COLOR"),
        "{}",
        shown.out
    );
    assert!(
        line("cache.max_size").contains("5GB") && line("cache.max_size").contains("config.toml:4"),
        "{}",
        shown.out
    );
    assert!(line("format").contains("default"), "{}", shown.out);

    let document = valid("config", &home.run(&["config", "show", "--json"]).out);
    let jobs = document["settings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["key"] == "jobs")
        .unwrap()
        .clone();
    assert_eq!(
        (jobs["value"].as_str(), jobs["origin"].as_str()),
        (Some("2"), Some("project file"))
    );
}

#[test]
fn a_project_cannot_consent_for_its_user() {
    let home = Home::new();
    home.write(
        ".sykli/config.toml",
        "jobs = 1\n[consent]\nmode = \"policy\"\n",
    );
    for args in [
        &["config", "show"][..],
        &["config", "check"],
        &["cache", "stats"],
    ] {
        let refused = home.run(args);
        assert_eq!(refused.code, 2, "{args:?}");
        assert!(
            refused.err.contains("[config::project-widens]"),
            "{}",
            refused.err
        );
        assert!(refused.err.contains("config.toml:3"), "{}", refused.err);
    }
    let document = valid(
        "error",
        &answer(
            home.command(&["config", "show", "--json"])
                .env("NO_COLOR", "1"),
        )
        .out,
    );
    assert_eq!(document["code"], "config::project-widens");
    assert_eq!(document["problems"][0]["line"], 3);
}

#[test]
fn check_finds_every_problem_at_once() {
    let home = Home::new();
    write(&home.user_config(), "jbos = 6\n");
    home.write(".sykli/config.toml", "jobs = \"many\"\n");
    let checked = answer(home.command(&["config", "check"]).env("SYKLI_JBOS", "1"));
    assert_eq!(checked.code, 2);
    for text in [
        "did you mean `jobs`?",
        "[config::value]",
        "SYKLI_JBOS",
        "did you mean SYKLI_JOBS?",
    ] {
        assert!(checked.err.contains(text), "{text}: {}", checked.err);
    }
    let home = Home::new();
    assert_eq!(home.run(&["config", "check"]).code, 0);
}

#[test]
fn wrong_variables_and_flags_are_named() {
    let home = Home::new();
    let wrong = answer(home.command(&["cache", "stats"]).env("SYKLI_JOBS", "0"));
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.err.contains("SYKLI_JOBS") && wrong.err.contains("[config::variable]"),
        "{}",
        wrong.err
    );
    let wrong = home.run(&["run", "--jobs", "x"]);
    assert!(
        wrong.err.contains("--jobs") && wrong.code == 2,
        "{}",
        wrong.err
    );
}

#[test]
fn paths_are_shown_and_the_cache_can_be_elsewhere() {
    let home = Home::new();
    let paths = home.run(&["config", "path"]);
    assert!(
        paths.out.contains("config/sykli/config.toml (not there)"),
        "{}",
        paths.out
    );
    let elsewhere = home.dir.path().join("elsewhere");
    let stats = answer(
        home.command(&["cache", "stats", "--json"])
            .env("SYKLI_CACHE_DIR", &elsewhere),
    );
    assert_eq!(stats.code, 0, "{}", stats.err);
    let document = valid("cache-stats", &stats.out);
    assert_eq!(
        document["dir"].as_str().unwrap(),
        elsewhere.to_str().unwrap()
    );
}

#[test]
fn an_unwritable_cache_is_a_clear_error() {
    let home = Home::new();
    home.write("file", "");
    let stats = answer(
        home.command(&["cache", "stats"])
            .env("SYKLI_CACHE_DIR", home.project().join("file/below")),
    );
    assert_eq!(stats.code, 2);
    assert!(
        stats.err.contains("hint:") && stats.err.contains("file/below"),
        "{}",
        stats.err
    );
}

#[test]
fn a_project_narrows_consent_and_show_says_so() {
    let home = Home::new();
    write(
        &home.user_config(),
        "[consent]\nmode = \"policy\"\ngrants = [\"clock\", \"random\"]\n",
    );
    home.write(
        ".sykli/config.toml",
        "[consent]\nmode = \"never\"\ngrants = [\"clock\"]\nmax_concurrent = 50\n",
    );
    let document = valid("config", &home.run(&["config", "show", "--json"]).out);
    let setting = |key: &str| {
        let settings = document["settings"].as_array().unwrap().iter();
        let found = settings.clone().find(|one| one["key"] == key).unwrap();
        let text = |field: &str| found[field].as_str().unwrap().to_owned();
        (text("value"), text("origin"))
    };
    let said = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(setting("consent.mode"), said("never", "project file"));
    assert_eq!(setting("consent.grants"), said("clock", "project file"));
    assert_eq!(setting("consent.max_concurrent"), said("2", "default"));
    assert_eq!(setting("node.profile"), said("lan", "default"));
}
