//! `respoke.1` under `/v1/socket`, as docs/socket.md has it.

mod both_doors;
mod coming_back;
mod connecting;
mod ends;
mod requests;
