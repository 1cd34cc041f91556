//! `cargo xtask check`: formatting, lints, documentation, the crate graph, and the rooms inside the crates.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::test::run_command;

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

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    crate_graph(root)?;
    crate::rooms::run(root)?;
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(root);
        command
    };
    run_command(&mut cargo(&["fmt", "--all", "--check"]))?;
    run_command(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // What newcomers build. Without debug checks the compiler evaluates constants in another order, and may refuse one.
    run_command(&mut cargo(&["check", "--release", "-p", "respoked"]))?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
    run_command(doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"))
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
        ensure!(package["features"]["default"].is_null(), "{name} must have no features by default");
    }
    Ok(())
}
