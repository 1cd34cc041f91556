//! The bus of a server that is alone. A second file takes its place where there are several.

mod local;

pub use local::LocalBus;
