//! A frame of another node.
#![no_main]

use libfuzzer_sys::fuzz_target;
use respoke_wire::bus::{FRAME_LEN_MAX, Frame};

fuzz_target!(|data: &[u8]| {
    let Ok(frame) = Frame::decode(data) else { return };
    assert!(data.len() <= FRAME_LEN_MAX);
    // There is one way to write it.
    assert_eq!(frame.encode().expect("what was read is not too long"), data);
});
