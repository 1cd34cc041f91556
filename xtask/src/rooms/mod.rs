//! `cargo xtask rooms`: how each crate is laid out inside, as the compiler cannot guard it.
//!
//! Two things are held to, for who looks for something and for who changes it. No circle of files that name each other
//! grows: [`CRATES`] says how large the largest of each crate is. And the rooms of the server, which `plan.rs` lists, use
//! each other as the plan says and no otherwise.

mod modules;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail};

use modules::Graph;
use plan::{Room, SERVER};

/// The source of a crate, and how many files its largest circle has. Lower it with every circle that is opened.
const CRATES: &[(&str, usize)] = &[
    ("crates/core/src", 25),
    ("crates/wire/src", 3),
    ("crates/store/src", 29),
    ("crates/bus/src", 6),
    ("crates/hub/src", 25),
    ("crates/server/src", 5),
    ("xtask/src", 2),
];

/// Prints the largest circle of each crate and the rooms of the server, and fails if they are not as planned.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    for (src, largest) in CRATES {
        let graph = Graph::read(&root.join(src))?;
        let found = graph.circles().first().map_or(0, Vec::len);
        println!("{src}: {} files, the largest circle has {found}", graph.files.len());
        if found < *largest {
            println!("    CRATES in xtask/src/rooms/mod.rs allows {largest}: lower it");
        }
        faults.extend(faults_of_circles(src, &graph, *largest));
        if *src == plan::SERVER_SRC {
            for room in SERVER {
                println!("    {}: {}", room.name, room.is_for);
                if !room.uses.is_empty() {
                    println!("        uses {}", room.uses.join(", "));
                }
            }
            faults.extend(faults_of_rooms(src, &graph, SERVER));
        }
    }
    if faults.is_empty() { Ok(()) } else { bail!("the house is not as planned:\n{}", faults.join("\n")) }
}

/// What is wrong about circles.
fn faults_of_circles(src: &str, graph: &Graph, largest: usize) -> Vec<String> {
    let circles = graph.circles();
    let too_large = circles.iter().filter(|circle| circle.len() > largest);
    too_large
        .map(|circle| {
            let inside = |file: &str| circle.contains(&file);
            let ties = graph.arrows.iter().filter(|arrow| inside(&arrow.from) && inside(&arrow.to));
            let ties: Vec<_> =
                ties.map(|tie| format!("    {src}/{}:{} names {} of {}", tie.from, tie.line, tie.named, tie.to)).collect();
            format!(
                "{src}: {} files name each other in a circle, and no more than {largest} may. Put what both ends need into \
                 a file of its own, below them:\n{}",
                circle.len(),
                ties.join("\n")
            )
        })
        .collect()
}

/// What is wrong about rooms.
fn faults_of_rooms(src: &str, graph: &Graph, plan: &[Room]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut room_of = BTreeMap::new();
    for file in &graph.files {
        let rooms: Vec<_> = plan.iter().filter(|room| room.holds(file)).map(|room| room.name).collect();
        match rooms[..] {
            [room] => drop(room_of.insert(file.as_str(), room)),
            [] => faults.push(format!("{src}/{file} is in no room: name it in xtask/src/rooms/plan.rs")),
            [..] => faults.push(format!("{src}/{file} is in several rooms: {}", rooms.join(", "))),
        }
    }
    for (at, room) in plan.iter().enumerate() {
        for used in room.uses {
            if !plan[at + 1..].iter().any(|below| below.name == *used) {
                faults.push(format!("{src}: {} is to use {used}, which is not planned below it", room.name));
            }
        }
        for held in room.files {
            if !graph.files.iter().any(|file| plan::is_held(held, file)) {
                faults.push(format!("{src}: {held}, of the room {}, is not there", room.name));
            }
        }
    }
    let mut used = BTreeSet::new();
    for arrow in &graph.arrows {
        let (Some(&from), Some(&to)) = (room_of.get(arrow.from.as_str()), room_of.get(arrow.to.as_str())) else {
            continue;
        };
        used.insert((from, to));
        let planned = from == to || plan.iter().any(|room| room.name == from && room.uses.contains(&to));
        if !planned {
            faults.push(format!(
                "{src}/{}:{} names {} of {}: the room {from} does not use {to}. Put what is needed into a room that both \
                 may use; or if the picture is to change, plan it in xtask/src/rooms/plan.rs and draw it in \
                 docs/architecture.md",
                arrow.from, arrow.line, arrow.named, arrow.to
            ));
        }
    }
    for room in plan {
        for other in room.uses.iter().filter(|other| !used.contains(&(room.name, **other))) {
            faults.push(format!(
                "{src}: {} does not use {other} any more: take it out of xtask/src/rooms/plan.rs",
                room.name
            ));
        }
    }
    faults
}

/// The root of this checkout.
///
/// # Errors
///
/// None that is known: where this crate is, the checkout is.
pub(crate) fn root() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate is in the checkout")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// A folder of these files.
    pub(super) fn house(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn graph(files: &[(&str, &str)]) -> Graph {
        Graph::read(house(files).path()).unwrap()
    }

    const PLAN: &[Room] = &[
        Room { name: "attic", files: &["attic.rs"], uses: &["hall"], is_for: "" },
        Room { name: "hall", files: &["hall.rs", "hall/", "lib.rs"], uses: &[], is_for: "" },
    ];
    const LIB: (&str, &str) = ("lib.rs", "mod attic;\nmod hall;");
    const ATTIC: (&str, &str) = ("attic.rs", "use crate::hall::lamp::Lamp;");
    const LAMP: (&str, &str) = ("hall/lamp.rs", "pub(crate) struct Lamp;");

    #[test]
    fn this_checkout_is_as_planned() {
        run(root().unwrap()).unwrap();
    }

    #[test]
    fn a_circle_that_is_too_large_is_a_fault_that_says_what_ties_it() {
        let graph = graph(&[("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "\nuse super::a::A;")]);
        let faults = faults_of_circles("src", &graph, 0);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("src/b.rs:2 names super::a::A of a.rs"), "{faults:?}");
        assert!(faults_of_circles("src", &graph, 2).is_empty());
    }

    #[test]
    fn rooms_as_planned_have_no_fault() {
        let graph = graph(&[LIB, ATTIC, ("hall.rs", "pub(crate) mod lamp;"), LAMP]);
        assert_eq!(faults_of_rooms("src", &graph, PLAN), [""; 0]);
    }

    #[test]
    fn a_new_arrow_is_a_fault_that_says_where() {
        let hall = ("hall.rs", "pub(crate) mod lamp;\nfn f() { crate::attic::trunk() }");
        let faults = faults_of_rooms("src", &graph(&[LIB, ATTIC, hall, LAMP]), PLAN);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("src/hall.rs:2 names crate::attic::trunk of attic.rs"), "{faults:?}");
        assert!(faults[0].contains("plan.rs"), "{faults:?}");
    }

    #[test]
    fn a_file_without_a_room_and_an_arrow_that_nobody_needs_are_faults() {
        let lib = ("lib.rs", "mod attic;\nmod cellar;\nmod hall;");
        let graph = graph(&[lib, ("attic.rs", ""), ("cellar.rs", ""), ("hall.rs", "pub(crate) mod lamp;"), LAMP]);
        let faults = faults_of_rooms("src", &graph, PLAN);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("cellar.rs is in no room") && faults[1].contains("does not use hall"), "{faults:?}");
    }

    #[test]
    fn a_room_uses_only_what_is_planned_below_it() {
        let plan = [
            Room { name: "hall", files: &["lib.rs", "hall.rs"], uses: &[], is_for: "" },
            Room { name: "attic", files: &["attic.rs"], uses: &["hall"], is_for: "" },
        ];
        let graph = graph(&[LIB, ("attic.rs", "use crate::hall::Lamp;"), ("hall.rs", "")]);
        let faults = faults_of_rooms("src", &graph, &plan);
        assert!(faults.len() == 1 && faults[0].contains("not planned below it"), "{faults:?}");
    }
}
