//! Tests of expansion: which instances there are, what they see and what is refused.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::pipeline::{Format, parse};

fn pipeline(tasks: &str) -> Pipeline {
    parse(&format!("schema = \"sykli-wasm/1\"\n{tasks}"), Format::Toml).unwrap()
}

fn listing(paths: &[&str]) -> Listing {
    Listing::new(
        paths
            .iter()
            .map(|path| FileEntry {
                path: (*path).into(),
                executable: false,
            })
            .collect(),
    )
}

fn expand(tasks: &str, paths: &[&str]) -> Result<Plan, Vec<Diagnostic>> {
    plan(&pipeline(tasks), &listing(paths), &BTreeMap::new())
}

fn code(tasks: &str, paths: &[&str]) -> &'static str {
    let found = expand(tasks, paths).map(|plan| labels(&plan)).unwrap_err();
    assert_eq!(found.len(), 1, "{found:#?}");
    found.first().map_or("", |one| one.code)
}

fn labels(plan: &Plan) -> Vec<String> {
    plan.tasks.iter().map(|one| one.label.to_string()).collect()
}

fn args(plan: &Plan) -> Vec<String> {
    plan.tasks
        .iter()
        .map(|one| {
            one.args
                .iter()
                .map(|arg| &**arg)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

/// The paths that an instance sees.
fn seen(plan: &Plan, instance: usize, paths: &[&str]) -> Vec<String> {
    let listing = listing(paths);
    let files = plan.input_files(&plan.tasks[instance]);
    files
        .map(|file| listing.files()[file as usize].path.to_string())
        .collect()
}

#[test]
fn a_glob_makes_one_instance_a_file() {
    let paths = [
        "photos/b.jpg",
        "photos/x/a.jpg",
        "photos/a.txt",
        "config.toml",
        "z.txt",
    ];
    let plan = expand(
        "[task.shrink]\ncomponent='x'\ninputs=['config.toml', 'z.txt']\nforeach={glob='photos/**/*.jpg'}\n\
         args=['{index}/{count}', '{item}', '{item.stem}']\nparams={file='{item.name}'}\noutputs=['t/{item.stem}.png']\n",
        &paths,
    )
    .unwrap();
    assert_eq!(labels(&plan), ["shrink[b.jpg]", "shrink[x/a.jpg]"]);
    assert_eq!(args(&plan), ["0/2 photos/b.jpg b", "1/2 photos/x/a.jpg a"]);
    assert_eq!(&*plan.tasks[1].params_json, "{\"file\":\"a.jpg\"}");
    assert_eq!(plan.tasks[1].outputs[0].as_literal(), Some("t/a.png"));
    assert_eq!(plan.tasks[1].item_input(), Some("photos/x/a.jpg"));
    assert_eq!(
        seen(&plan, 1, &paths),
        ["config.toml", "photos/x/a.jpg", "z.txt"]
    );
    assert_eq!(plan.groups[0].instances, 0..2);
}

#[test]
fn shards_values_and_matrices_are_repeated_in_order() {
    let plan = expand(
        "[task.s]\ncomponent='x'\nforeach={shards=3}\nargs=['{index}']\n\
         [task.v]\ncomponent='x'\nforeach={values=['b', 'a/c', 7]}\nargs=['{item.name}']\n\
         [task.m]\ncomponent='x'\nforeach={matrix={os=['linux','mac'],bits=[32,64]}}\nargs=['{os}{bits}', '{item}']\n",
        &[],
    )
    .unwrap();
    assert_eq!(
        labels(&plan),
        [
            "s[1/3]",
            "s[2/3]",
            "s[3/3]",
            "v[b]",
            "v[a/c]",
            "v[7]",
            "m[32,linux]",
            "m[32,mac]",
            "m[64,linux]",
            "m[64,mac]"
        ]
    );
    assert_eq!(
        args(&plan),
        [
            "0",
            "1",
            "2",
            "b",
            "c",
            "7",
            "linux32 bits=32,os=linux",
            "mac32 bits=32,os=mac",
            "linux64 bits=64,os=linux",
            "mac64 bits=64,os=mac"
        ]
    );
    assert!(plan.tasks[0].item.is_none() && plan.tasks.iter().all(|one| one.item_file.is_none()));
}

#[test]
fn instances_share_what_is_the_same() {
    let plan = expand(
        "[task.a]\ncomponent='x'\nforeach={shards=1000}\nargs=['same']\ninputs=['*.txt']\noutputs=['*.o']\n\
         [task.b]\ncomponent='x'\nforeach={shards=2}\nargs=['same', '{index}']\ninputs=['*.txt']\n",
        &["a.txt"],
    )
    .unwrap();
    let (first, last) = (&plan.tasks[0], &plan.tasks[999]);
    assert!(
        Arc::ptr_eq(&first.args, &last.args) && Arc::ptr_eq(&first.params_json, &last.params_json)
    );
    assert!(Arc::ptr_eq(&first.outputs, &last.outputs));
    assert!(Arc::ptr_eq(&plan.groups[0].inputs, &plan.groups[1].inputs));
    assert!(Arc::ptr_eq(
        &plan.tasks[1000].args[0],
        &plan.tasks[1001].args[0]
    ));
}

#[test]
fn tasks_come_after_those_they_wait_for_and_carry_the_longest_way() {
    let pipeline = pipeline(
        "[task.deploy]\ncomponent='x'\nafter=['build', 'test']\n[task.test]\ncomponent='x'\nafter=['lint']\n\
         [task.build]\ncomponent='x'\nafter=['lint']\n[task.lint]\ncomponent='x'\n[task.doc]\ncomponent='x'\n",
    );
    let durations = BTreeMap::from([
        ("build".to_owned(), 100),
        ("test".to_owned(), 10),
        ("deploy".to_owned(), 5),
    ]);
    let plan = plan(&pipeline, &listing(&[]), &durations).unwrap();
    assert_eq!(labels(&plan), ["lint", "test", "build", "deploy", "doc"]);
    assert_eq!(plan.order, [3, 1, 2, 0, 4]);
    assert_eq!(
        plan.tasks
            .iter()
            .map(|one| one.priority)
            .collect::<Vec<_>>(),
        [106, 15, 105, 5, 1]
    );
    assert_eq!(plan.groups[3].dependants, [1, 2]);
    assert_eq!(plan.groups[0].instances, 3..4);
}

#[test]
fn what_tasks_write_is_no_input() {
    let paths = [
        "a.jpg",
        "a.small.jpg",
        "out/b.jpg",
        "target/c.jpg",
        "x/.git/d.jpg",
        "e.jpg",
    ];
    let tasks = "[task.s]\ncomponent='x'\nforeach={glob='**/*.jpg'}\noutputs=['{item}.small.jpg', '{item.stem}.small.jpg']\n\
                 [task.o]\ncomponent='x'\ninputs=['**']\noutputs=['out/**']\n";
    let plan = expand(tasks, &paths).unwrap();
    assert_eq!(labels(&plan), ["s[a.jpg]", "s[e.jpg]", "o"]);
    assert_eq!(seen(&plan, 2, &paths), ["a.jpg", "e.jpg"]);
    // What stays inside the run does not touch the project.
    let plan = expand(
        "[task.o]\ncomponent='x'\ninputs=['**/*.jpg']\noutputs=['out/**']\nexport=false\n",
        &paths,
    )
    .unwrap();
    assert_eq!(
        seen(&plan, 0, &paths),
        ["a.jpg", "a.small.jpg", "e.jpg", "out/b.jpg"]
    );
    let plan = expand("[task.o]\ncomponent='x'\ninputs=['target/*']\n", &paths).unwrap();
    assert_eq!(seen(&plan, 0, &paths), ["target/c.jpg"]);
}

#[test]
fn an_output_that_takes_its_item_covers_sub_folders() {
    let tasks = "[task.s]\ncomponent='x'\nforeach={glob='in/**/*.c'}\noutputs=['{item}.o']\n[task.t]\ncomponent='x'\ninputs=['in/**']\n";
    let paths = ["in/a.c", "in/a.c.o", "in/x/y/b.c", "in/x/y/b.c.o"];
    let plan = expand(tasks, &paths).unwrap();
    assert_eq!(seen(&plan, 2, &paths), ["in/a.c", "in/x/y/b.c"]);
}

#[test]
fn patterns_without_files_are_refused() {
    assert_eq!(
        code("[task.a]\ncomponent='x'\ninputs=['*.jpg']\n", &["a.txt"]),
        "pipeline::empty-glob"
    );
    assert_eq!(
        code("[task.a]\ncomponent='x'\nforeach={glob='*.jpg'}\n", &[]),
        "pipeline::empty-glob"
    );
    assert_eq!(
        code("[task.a]\ncomponent='x'\ninputs=['a.jpg']\n", &[]),
        "pipeline::missing-input"
    );
    assert_eq!(
        code("[task.a]\ncomponent='x'\nstdin='a.txt'\n", &[]),
        "pipeline::missing-input"
    );
    let found = expand(
        "[task.a]\ncomponent='x'\nforeach={glob='*.jpg'}\noutputs=['{item}']\n",
        &["a.jpg"],
    )
    .unwrap_err();
    assert_eq!(found[0].code, "pipeline::empty-glob");
    assert!(
        found[0].hints[0].contains("written by task `a`"),
        "{:?}",
        found[0].hints
    );
    let written = "[task.a]\ncomponent='x'\nforeach={shards=2}\noutputs=['p{index}']\n[task.b]\ncomponent='x'\ninputs=['p0']\n";
    assert_eq!(code(written, &["p0"]), "pipeline::input-is-output");
}

#[test]
fn standard_input_is_a_file_or_an_earlier_output() {
    let plan = expand(
        "[task.list]\ncomponent='x'\n[task.b]\ncomponent='x'\nafter=['list']\nstdin='list/x/y'\n\
         [task.c]\ncomponent='x'\nforeach={glob='*.txt'}\nstdin='{item}'\n",
        &["a.txt", "b.txt"],
    )
    .unwrap();
    assert_eq!(
        plan.tasks[1].stdin,
        Some(Stdin::Output {
            task: 0,
            path: "x/y".into()
        })
    );
    assert_eq!(plan.tasks[3].stdin, Some(Stdin::File(1)));
    let found = expand(
        "[task.list]\ncomponent='x'\n[task.b]\ncomponent='x'\nstdin='list/x'\n",
        &[],
    )
    .unwrap_err();
    assert_eq!(
        found[0].hints,
        ["for an output of that task write `after = [\"list\"]`"]
    );
}

#[test]
fn instances_that_write_the_same_file_are_refused() {
    for (tasks, paths) in [
        (
            "[task.a]\ncomponent='x'\nforeach={shards=2}\noutputs=['r']\n",
            &[][..],
        ),
        (
            "[task.a]\ncomponent='x'\nforeach={shards=2}\noutputs=['r']\nexport=false\n",
            &[],
        ),
        (
            "[task.a]\ncomponent='x'\nforeach={glob='**/*.c'}\noutputs=['{item.stem}.o']\n",
            &["a/x.c", "b/x.c"],
        ),
        (
            "[task.a]\ncomponent='x'\nforeach={shards=2}\noutputs=['p{index}']\n[task.b]\ncomponent='x'\noutputs=['p1']\n",
            &[],
        ),
        (
            "[task.a]\ncomponent='x'\nforeach={shards=2}\noutputs=['p{index}']\n[task.b]\ncomponent='x'\noutputs=['p?*']\n",
            &[],
        ),
    ] {
        let found = expand(tasks, paths).unwrap_err();
        assert_eq!(found[0].code, "pipeline::duplicate-output", "{tasks}");
    }
    for tasks in [
        "[task.a]\ncomponent='x'\nforeach={shards=1}\noutputs=['r']\n",
        "[task.a]\ncomponent='x'\nforeach={shards=2}\noutputs=['r/**']\n",
        "[task.a]\ncomponent='x'\noutputs=['r']\n[task.b]\ncomponent='x'\noutputs=['r']\nexport=false\n",
    ] {
        assert!(expand(tasks, &[]).is_ok(), "{tasks}");
    }
}

#[test]
fn an_item_that_makes_no_path_is_refused() {
    assert_eq!(
        code(
            "[task.a]\ncomponent='x'\nforeach={values=['../x']}\noutputs=['{item}']\n",
            &[]
        ),
        "pipeline::bad-path"
    );
    assert_eq!(
        code(
            "[task.a]\ncomponent='x'\nforeach={values=['/x']}\nstdin='{item}'\n",
            &[]
        ),
        "pipeline::bad-path"
    );
    let plan = expand(
        "[task.a]\ncomponent='x'\nforeach={values=['[x]*']}\noutputs=['{item}']\n",
        &[],
    )
    .unwrap();
    assert_eq!(plan.tasks[0].outputs[0].as_literal(), Some("[x]*"));
}

#[test]
fn a_file_cannot_hide_behind_a_task() {
    let tasks = "[task.list]\ncomponent='x'\n[task.b]\ncomponent='x'\nafter=['list']\ninputs=['**/*.txt']\n";
    assert_eq!(
        code(tasks, &["a.txt", "list/x.txt"]),
        "pipeline::shadowed-input"
    );
    assert!(expand(tasks, &["a.txt", "list.txt"]).is_ok());
    let items = "[task.list]\ncomponent='x'\n[task.b]\ncomponent='x'\nafter=['list']\nforeach={glob='**/*.txt'}\n";
    assert_eq!(
        code(items, &["a.txt", "list/x.txt"]),
        "pipeline::shadowed-input"
    );
}

#[test]
fn a_million_instances_are_many_and_more_are_too_many() {
    let plan = expand(
        "[task.a]\ncomponent='x'\nforeach={shards=1000000}\nargs=['{index}', '--fixed']\noutputs=['o/{index}']\n",
        &[],
    );
    let plan = plan.unwrap();
    assert_eq!(plan.tasks.len(), MAX_INSTANCES);
    assert_eq!(&*plan.tasks[999_999].label, "a[1000000/1000000]");
    let one_more = "[task.a]\ncomponent='x'\nforeach={shards=1000000}\n[task.b]\ncomponent='x'\n";
    assert_eq!(code(one_more, &[]), "pipeline::too-large");
    let keys: Vec<String> = (0..30)
        .map(|key| format!("k{key} = ['a', 'b', 'c', 'd', 'e']"))
        .collect();
    let matrix = format!(
        "[task.a]\ncomponent='x'\nforeach={{matrix={{{}}}}}\n",
        keys.join(", ")
    );
    assert_eq!(code(&matrix, &[]), "pipeline::too-large");
}

#[test]
fn a_short_pipeline_cannot_ask_for_all_memory() {
    let many: Vec<&str> = vec!["'{index}'"; 10_000];
    let tasks = format!(
        "[task.a]\ncomponent='x'\nforeach={{shards=1000000}}\nargs=[{}]\n",
        many.join(",")
    );
    assert_eq!(code(&tasks, &[]), "pipeline::too-large");
}

#[test]
fn a_large_listing_is_matched_by_folder() {
    let paths: Vec<String> = (0..50_000)
        .map(|n| format!("d{:03}/f{n:05}.txt", n % 500))
        .collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let tasks: String = (0..500)
        .map(|n| {
            format!("[task.t{n}]\ncomponent='x'\ninputs=['d{n:03}/*.txt', 'd000/f00000.txt']\n")
        })
        .collect();
    let plan = expand(&tasks, &paths).unwrap();
    assert_eq!(plan.groups[1].inputs.len(), 101);
    assert_eq!(plan.groups[0].inputs.len(), 100);
}

#[test]
fn a_listing_is_sorted_and_has_each_path_once() {
    let listing = listing(&["b", "a/z", "a.b", "b"]);
    assert_eq!(
        listing
            .files()
            .iter()
            .map(|file| &*file.path)
            .collect::<Vec<_>>(),
        ["a.b", "a/z", "b"]
    );
    assert_eq!((listing.find("a/z"), listing.find("z")), (Some(1), None));
}
