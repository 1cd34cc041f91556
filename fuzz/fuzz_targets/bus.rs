//! A frame of another node.
#![no_main]

use libfuzzer_sys::fuzz_target;
use respoke_core::ports::{Answer, BooksAnswer};
use respoke_wire::bus::{Content, FRAME_LEN_MAX, Frame, Item};

fuzz_target!(|data: &[u8]| {
    let Ok(frame) = Frame::decode(data) else { return };
    assert!(data.len() <= FRAME_LEN_MAX);
    let has_figures = matches!(
        frame.content,
        Content::Item { item: Item::Answer { answer: Answer::Books(BooksAnswer::Figures(_)), .. }, .. }
    );
    match frame.encode() {
        // There is one way to write it.
        Ok(written) if !has_figures => assert_eq!(written, data),
        // But for figures: they are JSON, which may say more than is read of it, or leave out what is nought.
        Ok(written) => {
            let again = Frame::decode(&written).expect("what was written is read");
            assert_eq!(again.encode().expect("it is as long as before"), written);
        }
        Err(_) => assert!(has_figures, "what was read is not too long"),
    }
});
