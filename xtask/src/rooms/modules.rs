//! The module graph of a crate, read from its source: which file names something of which other file.
//!
//! The source is parsed and not searched as text, so comments and strings count for nothing. What only tests have is left
//! out: what `cfg` keeps for `test` or for a feature, since features of ours are what tests alone use. Inside macros and
//! attributes, which are tokens to whoever does not expand them, every `a::b` counts as a path.
//!
//! An arrow leads to the file that defines what is named, through every `pub use` on the way. What is reached by a method
//! alone is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree};

/// A chain of `use`s longer than this is a circle of its own.
const USES_MAX: usize = 20;

/// A file names something of another. Both are paths from the crate's `src`, with slashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrow {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) line: usize,
    /// As it stands there.
    pub(super) named: String,
}

/// The files of a crate and what they name of each other.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) files: BTreeSet<String>,
    pub(super) arrows: Vec<Arrow>,
}

impl Graph {
    /// Reads the crate whose source is in `src`.
    ///
    /// # Errors
    ///
    /// When a file is not there or is no Rust.
    pub(super) fn read(src: &Path) -> anyhow::Result<Self> {
        let root = ["lib.rs", "main.rs"].into_iter().find(|name| src.join(name).is_file());
        let root = root.with_context(|| format!("{} has neither lib.rs nor main.rs", src.display()))?;
        let mut house = House { src, files: BTreeSet::new(), modules: BTreeMap::new() };
        house.read_file(Vec::new(), Path::new(root), Path::new(""))?;
        let mut arrows = BTreeMap::new();
        for (at, module) in &house.modules {
            for reference in &module.references {
                let Some(to) = house.file_of(at, &reference.path) else { continue };
                if to != module.file {
                    let named = reference.path.join("::");
                    // The first that names something of the other file stands for all.
                    let arrow = Arrow { from: module.file.clone(), to: to.to_owned(), line: reference.line, named };
                    let first = arrows.entry((arrow.from.clone(), arrow.to.clone())).or_insert(arrow.clone());
                    if arrow.line < first.line {
                        *first = arrow;
                    }
                }
            }
        }
        Ok(Self { files: house.files, arrows: arrows.into_values().collect() })
    }

    /// The files that name each other in a circle: each circle sorted, the largest first.
    pub(super) fn circles(&self) -> Vec<Vec<&str>> {
        let mut reach: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for file in &self.files {
            let mut reached = BTreeSet::new();
            let mut ahead = vec![file.as_str()];
            while let Some(at) = ahead.pop() {
                let next = self.arrows.iter().filter(|arrow| arrow.from == at).map(|arrow| arrow.to.as_str());
                ahead.extend(next.filter(|next| reached.insert(*next)));
            }
            reach.insert(file, reached);
        }
        let mut circles = BTreeSet::new();
        for (file, reached) in &reach {
            if reached.contains(file) {
                circles.insert(reached.iter().copied().filter(|other| reach[other].contains(file)).collect::<Vec<_>>());
            }
        }
        let mut circles: Vec<_> = circles.into_iter().collect();
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }
}

/// A crate that is being read.
struct House<'a> {
    src: &'a Path,
    files: BTreeSet<String>,
    /// By their paths from the crate's root.
    modules: BTreeMap<Vec<String>, Module>,
}

#[derive(Default)]
struct Module {
    file: String,
    children: BTreeSet<String>,
    /// What it defines.
    items: BTreeSet<String>,
    /// What it calls by a name of its own: the name, and the path that it stands for.
    uses: BTreeMap<String, Vec<String>>,
    /// Of which modules it takes all names.
    globs: Vec<Vec<String>>,
    references: Vec<Reference>,
}

struct Reference {
    path: Vec<String>,
    line: usize,
}

impl House<'_> {
    /// Reads the module `at`, which is `file`, and all below it, whose files are in `folder`.
    fn read_file(&mut self, at: Vec<String>, file: &Path, folder: &Path) -> anyhow::Result<()> {
        let path = self.src.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("{} is no Rust", path.display()))?;
        let name = file.to_str().context("names of source files are text")?.replace('\\', "/");
        self.files.insert(name.clone());
        self.read_module(at, &name, folder, &parsed.items)
    }

    fn read_module(&mut self, at: Vec<String>, file: &str, folder: &Path, items: &[Item]) -> anyhow::Result<()> {
        let mut reader = Reader { module: Module { file: file.to_owned(), ..Module::default() } };
        for item in items {
            reader.note_name(item);
            match item {
                Item::Mod(module) if is_built(&module.attrs) => {
                    let name = module.ident.to_string();
                    reader.module.children.insert(name.clone());
                    ensure!(
                        !module.attrs.iter().any(|attribute| attribute.path().is_ident("path")),
                        "{file}: a module's file has the module's name"
                    );
                    let inner: Vec<String> = at.iter().cloned().chain([name.clone()]).collect();
                    let below = folder.join(&name);
                    match &module.content {
                        Some((_, items)) => self.read_module(inner, file, &below, items)?,
                        None => {
                            let flat = folder.join(format!("{name}.rs"));
                            let found = if self.src.join(&flat).is_file() { flat } else { below.join("mod.rs") };
                            self.read_file(inner, &found, &below)?;
                        }
                    }
                }
                Item::Mod(_) => {}
                item => reader.visit_item(item),
            }
        }
        self.modules.insert(at, reader.module);
        Ok(())
    }

    /// The file that defines what `path` names in the module `at`; none if that is no file of this crate.
    fn file_of(&self, at: &[String], path: &[String]) -> Option<&str> {
        self.defining(at, path, USES_MAX).map(|module| module.file.as_str())
    }

    fn defining(&self, at: &[String], path: &[String], uses_left: usize) -> Option<&Module> {
        let (first, mut rest) = path.split_first()?;
        let mut here = match first.as_str() {
            "crate" => Vec::new(),
            "self" => at.to_vec(),
            "super" => at.split_last()?.1.to_vec(),
            name if self.modules[at].children.contains(name) => [at, &[name.to_owned()]].concat(),
            name => {
                let stands_for = self.modules[at].uses.get(name)?;
                // A name that stands for one of another crate, and happens to be that crate's name too.
                if stands_for.first() == Some(first) {
                    return None;
                }
                let whole: Vec<String> = stands_for.iter().chain(rest).cloned().collect();
                return self.defining(at, &whole, uses_left.checked_sub(1)?);
            }
        };
        while let Some((name, after)) = rest.split_first() {
            let module = &self.modules[&here];
            if name == "super" {
                here.pop()?;
            } else if module.children.contains(name) {
                here.push(name.clone());
            } else if let (Some(uses_left), false) = (uses_left.checked_sub(1), module.items.contains(name)) {
                // It is handed on from elsewhere, or comes with all of a module's names, or is made by a macro.
                let handed_on = module.uses.contains_key(name).then(|| self.defining(&here, rest, uses_left)).flatten();
                let from_globs = || {
                    let mut whole = module.globs.iter().map(|glob| [glob, rest].concat());
                    whole.find_map(|path| {
                        self.defining(&here, &path, uses_left).filter(|found| found.items.contains(name))
                    })
                };
                return handed_on.or_else(from_globs).or(Some(module));
            } else {
                return Some(module);
            }
            rest = after;
        }
        self.modules.get(&here)
    }
}

/// Whether what has these attributes is built for others than tests.
fn is_built(attributes: &[Attribute]) -> bool {
    let cfgs = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    !cfgs.filter_map(|attribute| attribute.parse_args::<Meta>().ok()).any(|meta| holds(&meta) == Some(false))
}

/// Whether a condition of `cfg` holds where no test is built; none if that depends on the machine.
fn holds(condition: &Meta) -> Option<bool> {
    let parts = |list: &syn::MetaList| {
        let parse = syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated;
        let parts = list.parse_args_with(parse).unwrap_or_default();
        parts.iter().map(holds).collect::<Vec<_>>()
    };
    match condition {
        Meta::Path(path) if path.is_ident("test") => Some(false),
        Meta::NameValue(pair) if pair.path.is_ident("feature") => Some(false),
        Meta::List(list) if list.path.is_ident("not") => parts(list).first().copied().flatten().map(|held| !held),
        Meta::List(list) if list.path.is_ident("all") => parts(list).contains(&Some(false)).then_some(false),
        Meta::List(list) if list.path.is_ident("any") => {
            parts(list).iter().all(|part| *part == Some(false)).then_some(false)
        }
        Meta::Path(_) | Meta::NameValue(_) | Meta::List(_) => None,
    }
}

/// Notes what a module defines, uses and names.
struct Reader {
    module: Module,
}

impl Reader {
    fn note_name(&mut self, item: &Item) {
        let name = match item {
            Item::Const(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Fn(item) => &item.sig.ident,
            Item::Static(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Union(item) => &item.ident,
            _ => return,
        };
        self.module.items.insert(name.to_string());
    }

    fn note_path(&mut self, path: Vec<String>, line: usize) {
        self.module.references.push(Reference { path, line });
    }

    fn note_use(&mut self, tree: &UseTree, before: &[String]) {
        match tree {
            UseTree::Path(path) => self.note_use(&path.tree, &[before, &[path.ident.to_string()]].concat()),
            UseTree::Name(name) => self.note_import(&name.ident, &name.ident, before),
            UseTree::Rename(renamed) => self.note_import(&renamed.ident, &renamed.rename, before),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_use(tree, before)),
            UseTree::Glob(glob) => {
                self.note_path(before.to_vec(), glob.star_token.spans[0].start().line);
                self.module.globs.push(before.to_vec());
            }
        }
    }

    fn note_import(&mut self, named: &Ident, called: &Ident, before: &[String]) {
        let mut path = before.to_vec();
        let mut called = called.to_string();
        // `use a::b::{self}` is `use a::b`.
        if named == "self" {
            if called == "self" {
                called = before.last().cloned().unwrap_or_default();
            }
        } else {
            path.push(named.to_string());
        }
        self.note_path(path.clone(), named.span().start().line);
        self.module.uses.insert(called, path);
    }

    /// Every `a::b` in what is not parsed.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.note_found(std::mem::take(&mut path), line);
                        line = name.span().start().line;
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.note_found(std::mem::take(&mut path), line);
                    colons = 0;
                    self.note_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.note_found(std::mem::take(&mut path), line);
                    colons = 0;
                }
            }
        }
        self.note_found(path, line);
    }

    fn note_found(&mut self, path: Vec<String>, line: usize) {
        if path.len() > 1 {
            self.note_path(path, line);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Const(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Macro(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            Item::Type(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if is_built(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, method: &'ast syn::ImplItemFn) {
        if is_built(&method.attrs) {
            visit::visit_impl_item_fn(self, method);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let line = path.segments.first().map_or(0, |first| first.ident.span().start().line);
        if path.segments.len() > 1 && path.leading_colon.is_none() {
            self.note_path(path.segments.iter().map(|segment| segment.ident.to_string()).collect(), line);
        }
        // What stands between angle brackets are paths as well.
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.note_tokens(called.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            Meta::List(list) => self.note_tokens(list.tokens.clone()),
            Meta::Path(_) | Meta::NameValue(_) => {}
        }
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(in crate::a)` names who may see it, and uses nothing.
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::house;
    use super::*;

    /// The arrows of a crate of these files, as `from -> to`.
    fn arrows(files: &[(&str, &str)]) -> Vec<String> {
        let folder = house(files);
        let graph = Graph::read(folder.path()).unwrap();
        graph.arrows.iter().map(|arrow| format!("{} -> {}", arrow.from, arrow.to)).collect()
    }

    #[test]
    fn an_arrow_leads_to_the_file_that_defines_what_is_named() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::{Thing as Other, inner::*};\nfn f() { crate::c::g(); }"),
            ("b.rs", "mod inner; pub(crate) use inner::deep::Thing;"),
            ("b/inner.rs", "pub(crate) mod deep;"),
            ("b/inner/deep.rs", "pub(crate) struct Thing; fn f(_: super::super::super::c::C) {}"),
            ("c.rs", "pub(crate) struct C; pub(crate) fn g() {}"),
        ]);
        let expected = [
            "a.rs -> b/inner.rs",
            "a.rs -> b/inner/deep.rs",
            "a.rs -> c.rs",
            "b.rs -> b/inner/deep.rs",
            "b/inner/deep.rs -> c.rs",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn macros_attributes_and_names_of_modules_are_read() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod b; mod c; mod d; mod e;"),
            ("a.rs", "use crate::b;\nfn f() { println!(\"{}\", [b::g(), crate::c::g()].len()); d::f() }"),
            ("b.rs", "#[derive(Debug)] #[made(of = crate::d::D)] pub(crate) struct B(Vec<crate::e::E>);"),
            ("c.rs", ""),
            ("d.rs", ""),
            ("e.rs", "/// crate::a::f\npub(crate) struct E; // crate::a\nconst TEXT: &str = \"crate::a::f\";"),
        ]);
        assert_eq!(found, ["a.rs -> b.rs", "a.rs -> c.rs", "b.rs -> d.rs", "b.rs -> e.rs"]);
    }

    #[test]
    fn what_only_tests_have_is_left_out() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod b; #[cfg(test)] mod gone; #[cfg(feature = \"testing\")] mod gone_too;"),
            ("a.rs", "#[cfg(test)] mod tests { use crate::b::B; } #[cfg(any(test, feature = \"x\"))] use crate::b::C;"),
            (
                "b.rs",
                "#[cfg(not(test))] use crate::a::A; #[cfg(unix)] fn f() {} struct S; impl S { #[cfg(test)] fn g() { super::x::f() } }",
            ),
        ]);
        assert_eq!(found, ["b.rs -> a.rs"]);
    }

    #[test]
    fn a_circle_is_found_whole() {
        let folder = house(&[
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", "use crate::a::A; use crate::d::D;"),
            ("d.rs", ""),
        ]);
        assert_eq!(Graph::read(folder.path()).unwrap().circles(), [["a.rs", "b.rs", "c.rs"]]);
    }
}
