//! The side of a websocket that is written: many short packets in one call, and a long one from where it lies.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};

/// What is gathered before it is written, about; more saves few calls.
const PORTION_LEN: usize = 32_768;
/// The longest header of a frame that is not masked.
///
/// # Source
///
/// RFC 6455 section 5.2.
const HEADER_LEN_MAX: usize = 10;

/// Writes a control frame, if there is one, and packets, many at once.
///
/// Of a long one it is told whenever a part of it was written.
pub(crate) async fn write_frames<W: AsyncWrite + Unpin>(
    io: &mut W,
    control: Option<Frame>,
    packets: &mut VecDeque<Bytes>,
    progresses: impl Fn(),
) -> io::Result<()> {
    let lens = packets.iter().map(|packet| if is_long(packet) { 0 } else { packet.len() } + HEADER_LEN_MAX);
    let mut bytes = Vec::with_capacity(lens.sum::<usize>().min(PORTION_LEN));
    if let Some(control) = control {
        put(&mut bytes, control);
    }
    loop {
        let mut long = None;
        while bytes.len() < PORTION_LEN
            && long.is_none()
            && let Some(packet) = packets.pop_front()
        {
            if is_long(&packet) {
                let header = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
                // Writing into memory cannot fail.
                let _ = header.format(packet.len() as u64, &mut bytes);
                long = Some(packet);
            } else {
                put(&mut bytes, Frame::message(packet, OpCode::Data(Data::Text), true));
            }
        }
        if bytes.is_empty() {
            // Which TLS needs.
            return io.flush().await;
        }
        io.write_all(&bytes).await?;
        bytes.clear();
        if let Some(packet) = long {
            let mut rest = &packet[..];
            while !rest.is_empty() {
                match io.write(rest).await? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    written => rest = &rest[written..],
                }
                progresses();
            }
        }
    }
}

/// Whether a packet is written from where it is: it is not copied, and is counted until it is written.
fn is_long(packet: &Bytes) -> bool {
    packet.len() >= PORTION_LEN
}

fn put(bytes: &mut Vec<u8>, frame: Frame) {
    // Writing into memory cannot fail.
    let _ = frame.format(bytes);
}

/// The frame that says by a code and a word why a socket is closed.
pub(crate) fn close_frame(code: u16, word: &'static str) -> Frame {
    Frame::close(Some(CloseFrame { code: code.into(), reason: word.into() }))
}
