//! `cargo xtask check`: formatting, lints, documentation, the crate graph, the rooms inside the crates, what operators are given.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

mod deploy;

use crate::command::run_command;

/// Which crate may use which of ours: the picture in docs/architecture.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("respoke-core", &[]),
    ("respoke-wire", &["respoke-core"]),
    ("respoke-store", &["respoke-core"]),
    ("respoke-bus", &["respoke-core", "respoke-wire"]),
    ("respoke-hub", &["respoke-core", "respoke-wire"]),
    ("respoked", &["respoke-bus", "respoke-core", "respoke-hub", "respoke-store", "respoke-wire"]),
    ("xtask", &[]),
];

/// Our crates are compiled as newcomers build them: without debug checks the compiler evaluates constants in another order, and may
/// refuse one. The others stay as they are, which `--release` would look at anew.
const AS_RELEASED: [&str; 5] = [
    "profile.dev.opt-level=3",
    "profile.dev.debug-assertions=false",
    "profile.dev.overflow-checks=false",
    "profile.dev.package.\"*\".debug-assertions=true",
    "profile.dev.package.\"*\".overflow-checks=true",
];

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    crate_graph(root)?;
    crate::rooms::run(root)?;
    deploy::check(root)?;
    nothing_is_left_of_a_merge(root)?;
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(root);
        command
    };
    run_command(&mut cargo(&["fmt", "--all", "--check"]))?;
    run_command(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let mut as_released = cargo(&["check", "-p", "respoked"]);
    run_command(as_released.args(AS_RELEASED.iter().flat_map(|setting| ["--config", setting])))?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
    run_command(doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"))
}

/// Fails on a file that still has both sides of a merge in it.
fn nothing_is_left_of_a_merge(root: &Path) -> anyhow::Result<()> {
    let mut search = Command::new("git");
    let found = search.args(["grep", "-nIE", "^(<<<<<<<|>>>>>>>) "]).current_dir(root).output()?.stdout;
    ensure!(found.is_empty(), "these are left of a merge:\n{}", String::from_utf8_lossy(&found));
    Ok(())
}

/// Fails on a dependency that nothing in its crate names.
fn dependencies_are_used(package: &serde_json::Value) -> anyhow::Result<()> {
    let manifest = Path::new(package["manifest_path"].as_str().context("a package has a manifest")?);
    let folder = manifest.parent().context("a manifest lies in a folder")?;
    let built = code_of(&["src", "build.rs"].map(|part| folder.join(part)))?;
    let tests = built.clone() + &code_of(&["tests", "benches", "examples"].map(|part| folder.join(part)))?;
    for dependency in package["dependencies"].as_array().context("a package lists dependencies")? {
        let name = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap_or_default().replace('-', "_");
        let code = if dependency["kind"] == "dev" { &tests } else { &built };
        ensure!(names(code, &name), "{} depends on {name} and does not use it", package["name"]);
    }
    Ok(())
}

/// All code of these files and folders, but for comments on lines of their own.
fn code_of(places: &[PathBuf]) -> anyhow::Result<String> {
    let mut code = String::new();
    for place in places.iter().filter(|place| place.exists()) {
        if place.is_dir() {
            let entries = std::fs::read_dir(place)?.collect::<Result<Vec<_>, _>>()?;
            code += &code_of(&entries.iter().map(std::fs::DirEntry::path).collect::<Vec<_>>())?;
        } else if place.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(place)?;
            text.lines().filter(|line| !line.trim_start().starts_with("//")).for_each(|line| code.extend([line, "\n"]));
        }
    }
    Ok(code)
}

/// Whether a word stands in a text.
fn names(text: &str, word: &str) -> bool {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|found| found == word)
}

/// Fails on an arrow that the picture does not have, and on one that brings along what tests alone use.
fn crate_graph(root: &Path) -> anyhow::Result<()> {
    let output =
        Command::new("cargo").args(["metadata", "--format-version=1", "--no-deps"]).current_dir(root).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata is JSON")?;
    let packages = metadata["packages"].as_array().context("metadata lists packages")?;
    ensure!(packages.len() == ARROWS.len(), "a crate is missing from the picture of arrows");
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let (_, allowed) =
            ARROWS.iter().find(|(known, _)| *known == name).with_context(|| format!("{name} is not in the picture"))?;
        let dependencies = package["dependencies"].as_array().context("a package lists dependencies")?;
        for dependency in dependencies {
            let used = dependency["name"].as_str().unwrap_or_default();
            let ours = ARROWS.iter().any(|(known, _)| *known == used);
            ensure!(!ours || allowed.contains(&used), "{name} must not use {used}");
            // Features of ours are what tests alone use, such as a chance that a seed decides.
            let built = dependency["kind"] != "dev";
            let plain = dependency["features"].as_array().is_some_and(Vec::is_empty);
            ensure!(!ours || !built || plain, "{name} must use {used} as it is built, without features of its tests");
        }
        dependencies_are_used(package)?;
        ensure!(package["features"]["default"].is_null(), "{name} must have no features by default");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dependency_that_only_a_comment_or_a_test_names_is_not_used_by_what_is_built() {
        let folder = std::env::temp_dir().join(format!("respoked-xtask-{}", std::process::id()));
        for (file, text) in
            [("src/lib.rs", "// serde\nuse tokio_util::x;\n"), ("tests/it/main.rs", "use proptest::x;\n")]
        {
            let file = folder.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let uses = |name: &str, kind: Option<&str>| {
            let manifest = folder.join("Cargo.toml");
            let dependency = json!({"name": name, "rename": null, "kind": kind});
            dependencies_are_used(&json!({"name": "a", "manifest_path": manifest, "dependencies": [dependency]}))
                .is_ok()
        };
        let found = [uses("tokio-util", None), uses("tokio", None), uses("serde", None), uses("proptest", None)];
        assert_eq!((found, uses("proptest", Some("dev"))), ([true, false, false, false], true));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
