//! `cargo xtask rooms`: how each crate is laid out inside, as the compiler cannot guard it.
//!
//! Two things are held to, for who looks for something and for who changes it. No circle of files that name each other
//! begins or grows: [`CRATES`] says how large those of each crate are. And the rooms of the server, which `plan.rs` lists, use
//! each other as the plan says and no otherwise.

mod modules;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail};

use modules::Graph;
use plan::{Room, SERVER};

/// The source of a crate, and how many files each of its circles has, the largest first. One that was opened is taken away.
const CRATES: &[(&str, &[usize])] = &[
    ("crates/core/src", &[]),
    ("crates/wire/src", &[]),
    ("crates/store/src", &[]),
    ("crates/bus/src", &[]),
    ("crates/hub/src", &[5, 3, 3]),
    ("crates/server/src", &[5, 4, 3, 2]),
    ("xtask/src", &[]),
];

/// Prints the circles of each crate and the rooms of the server, and fails if they are not as planned.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    for (src, planned) in CRATES {
        let graph = Graph::read(&root.join(src))?;
        println!("{src}: {} files, circles of {:?}", graph.files.len(), sizes(&graph));
        faults.extend(faults_of_circles(src, &graph, planned));
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

/// How many files each circle has, the largest first.
fn sizes(graph: &Graph) -> Vec<usize> {
    let mut sizes: Vec<_> = graph.circles().iter().map(Vec::len).collect();
    sizes.sort_unstable_by(|one, other| other.cmp(one));
    sizes
}

/// What is wrong about circles: those of a size that is not planned, or not so often.
fn faults_of_circles(src: &str, graph: &Graph, planned: &[usize]) -> Vec<String> {
    let found = sizes(graph);
    let count = |of: &[usize], size: usize| of.iter().filter(|one| **one == size).count();
    let gone = planned.iter().any(|size| count(&found, *size) < count(planned, *size));
    let circles = graph.circles();
    let new = circles.iter().filter(|circle| count(&found, circle.len()) > count(planned, circle.len()));
    let mut faults: Vec<_> = new
        .map(|circle| {
            let inside = |file: &str| circle.contains(&file);
            let ties = graph.arrows.iter().filter(|arrow| inside(&arrow.from) && inside(&arrow.to));
            let ties: Vec<_> =
                ties.map(|tie| format!("    {src}/{}:{} names {} of {}", tie.from, tie.line, tie.named, tie.to)).collect();
            format!(
                "{src}: {} files name each other in a circle, which is not planned. Put what both ends need into a file of \
                 its own, below them:\n{}",
                circle.len(),
                ties.join("\n")
            )
        })
        .collect();
    if gone {
        faults.push(format!(
            "{src}: circles of {planned:?} are planned and {found:?} are there: CRATES in xtask/src/rooms/mod.rs"
        ));
    }
    faults
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
    fn a_circle_that_is_new_is_a_fault_that_says_what_ties_it_and_so_is_one_that_is_gone() {
        let graph = graph(&[("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "\nuse super::a::A;")]);
        let faults = faults_of_circles("src", &graph, &[]);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("src/b.rs:2 names super::a::A of a.rs"), "{faults:?}");
        assert!(faults_of_circles("src", &graph, &[2]).is_empty());
        assert_eq!(faults_of_circles("src", &graph, &[2, 2]).len(), 1);
        assert_eq!(faults_of_circles("src", &graph, &[3]).len(), 2, "one is gone, and another there");
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
