//! What keeps connections and memory from being held for nothing.
//!
//! A writer that does not wait for ever (`impatient.rs`), a share of connections for each address (`shares.rs`), the places of
//! open connections (`places.rs`) and the requests under way on them (`under_way.rs`), what of their answers is not read
//! (`unread.rs`) and which of them go to make room (`room.rs`), how an answer is taken (`exchange.rs`, `body.rs`) and a
//! request's body comes (`coming.rs`, `partial.rs`), and what HTTP is spoken over (`http1.rs`, `lingering.rs`, `http2.rs`,
//! `windows.rs`, `frames.rs`).

mod body;
mod coming;
mod exchange;
mod frames;
mod http1;
mod http2;
mod impatient;
mod kept;
mod lingering;
mod partial;
mod places;
mod room;
mod shares;
mod under_way;
mod unread;
mod windows;

pub(crate) use body::{AnswerBody, Beside};
pub(crate) use coming::{Heard, RequestBody};
pub(crate) use exchange::Exchange;
pub(crate) use http1::{HEAD_LEN_MAX, Patient, RefusesHeads};
pub(crate) use http2::{head_len, serve_http2};
pub(crate) use impatient::{Encrypted, Impatient, Plain, WRITE_TIMEOUT};
pub(crate) use kept::KeptBytes;
pub(crate) use places::{Place, Places};
pub(crate) use shares::{Share, Shares};
pub(crate) use under_way::UnderWay;
pub(crate) use unread::{CallerKey, Reader, SMALL_LEN, Unread, UnreadLimits};
