//! What a node takes that knows a million interests of another one.

use std::process::Command;

use anyhow::{Context as _, ensure};

/// The column of that in what the program prints, beside one for the node that has them.
const COLUMN: usize = 3;

/// Runs the program that measures it, and returns bytes.
pub(super) fn measure() -> anyhow::Result<f64> {
    eprintln!("a million interests");
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--release", "--package", "respoke-bus", "--example", "interests"]);
    let ran = cargo.stderr(std::process::Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(ran.status.success(), "the program ended with {}", ran.status);
    bytes(&String::from_utf8_lossy(&ran.stdout))
}

/// Reads a table of a head and one row.
fn bytes(table: &str) -> anyhow::Result<f64> {
    let row = table.lines().last().context("the program prints a table")?;
    let megabytes = row.split_whitespace().nth(COLUMN).context("the row has that column")?;
    Ok(megabytes.parse::<f64>().context("a size is a number")? * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_at_the_other_node_is_read() {
        let table = "apps  interests  holder MB  MB at the other  frames\n    20   1000000       55.1             37.9       2\n";
        assert!((bytes(table).unwrap() - 37.9e6).abs() < 1.0);
        assert!(bytes("").is_err());
    }
}
