//! What others have written down and built on: settings, flags, exit codes, metrics and error codes.
//!
//! The snapshot beside this file changes only when one of them is meant to.

use std::collections::BTreeSet;

use crate::harness::{Server, contents, respoked, run};

/// The help of the command that `words` name.
fn help(words: &[&str]) -> String {
    let said = run(respoked().args(words).arg("--help").env("COLUMNS", "100"));
    assert_eq!(said.code, Some(0), "{words:?}: {}", said.err);
    said.out
}

fn flags(help: &str) -> impl Iterator<Item = &str> {
    help.lines().map(str::trim_start).filter(|line| line.starts_with('-'))
}

/// Every command below `words`, each with the arguments that not all have.
fn commands(words: &[&str], of_all: &[&str], into: &mut Vec<String>) {
    let help = help(words);
    into.push(help.lines().find(|line| line.starts_with("Usage: ")).unwrap().to_owned());
    into.extend(flags(&help).filter(|flag| !of_all.contains(flag)).map(|flag| format!("    {flag}")));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A description that goes on in the next line stands further in.
    let names = listed.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        commands(&[words, &[name]].concat(), of_all, into);
    }
}

/// The bounds of a histogram as they are served, which queries name to the letter.
fn bounds(metrics: &str, name: &str) -> String {
    let buckets = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("_bucket{"));
    let mut bounds = Vec::new();
    for bound in buckets.map(|labels| labels.split("le=\"").nth(1).unwrap().split('"').next().unwrap()) {
        if !bounds.contains(&bound) {
            bounds.push(bound);
        }
    }
    bounds.join(" ")
}

#[test]
fn what_others_build_on_is_as_it_was() {
    let mut surface = vec!["# Commands and flags".to_owned()];
    let main = help(&[]);
    let of_all: Vec<_> = flags(&main).collect();
    surface.extend(of_all.iter().map(|flag| format!("    {flag}")));
    commands(&[], &of_all, &mut surface);

    surface.push("# Exit codes".to_owned());
    surface.extend(main.lines().skip_while(|line| *line != "Exit codes:").skip(1).map(str::to_owned));

    surface.push("# Settings, as they are when none is given".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let checked = run(respoked().args(["config", "check"]).current_dir(folder.path()));
    assert_eq!(checked.code, Some(0), "{}", checked.err);
    surface.extend(checked.out.lines().map(str::to_owned));

    surface.push("# Metrics".to_owned());
    let server = Server::start();
    // What is counted by its kind is there once it was counted.
    server.get("/v1/apps").call().refused(401, "unauthenticated");
    let metrics = server.get("/metrics").call().text;
    let typed: BTreeSet<_> = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let page = contents(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md").as_ref());
    let page = String::from_utf8(page).unwrap();
    let served: BTreeSet<_> = typed
        .iter()
        .map(|metric| {
            let (name, kind) = metric.split_once(' ').unwrap();
            (if kind == "counter" { format!("`{name}_total`") } else { format!("`{name}`") }, kind)
        })
        .collect();
    // A row may have several metrics of one kind.
    let mut told = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| `respoked_")) {
        let [_, names, kind, meaning, _] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        assert!(!meaning.is_empty(), "{row}");
        for name in names.split(", ") {
            assert!(told.insert((name.to_owned(), kind)), "docs/operating.md has {name} twice");
        }
    }
    assert_eq!(told, served, "the metrics in the table of docs/operating.md, and those that are served");
    surface.extend(typed.into_iter().map(|metric| match metric.strip_suffix(" histogram") {
        Some(name) => format!("{metric} {}", bounds(&metrics, name)),
        None => metric.to_owned(),
    }));

    // A unit test holds the document and the codes together.
    surface.push("# Error codes".to_owned());
    let errors = contents(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md").as_ref());
    let rows = String::from_utf8(errors).unwrap();
    let rows = rows.lines().filter(|line| line.starts_with("| `"));
    surface.extend(rows.map(|row| row.split('|').take(3).collect::<Vec<_>>().join("|")));

    insta::assert_snapshot!(surface.join("\n"));
}
