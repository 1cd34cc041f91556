//! The bodies of requests, within bounds.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use respoke_wire::input::DecodeError;

use crate::problem::Problem;
use crate::transport::RequestBody;

/// How long a body may take to arrive.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a body that is too large is read and thrown away: a client that is still sending when the connection
/// closes may never see the answer.
const DISCARDED_LEN_MAX: usize = 1 << 20;

/// The whole body, within `len_max` and `timeout`. `asks_first`: the client waits for a word before it sends.
pub(super) async fn read_body<B>(
    mut body: B,
    len_max: usize,
    asks_first: bool,
    timeout: Duration,
) -> Result<Bytes, Problem>
where
    B: RequestBody,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let reading = async {
        if body.size_hint().lower() > len_max as u64 {
            // A client that asks before it sends is told in time.
            if !asks_first {
                discard(&mut body).await;
            }
            return Err(DecodeError::TooLarge.into());
        }
        let mut whole = Bytes::new();
        let mut joined = Vec::new();
        while let Some(frame) = body.frame().await {
            // The connection broke, or its framing: nobody will read this answer.
            let Ok(frame) = frame else { return Err(DecodeError::Malformed.into()) };
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + joined.len() + data.len() > len_max {
                drop((whole, joined, data));
                discard(&mut body).await;
                return Err(DecodeError::TooLarge.into());
            }
            // Nearly every body is one frame, which is then not copied.
            if joined.is_empty() && whole.is_empty() {
                whole = data;
            } else {
                append(&mut joined, &std::mem::take(&mut whole));
                append(&mut joined, &data);
            }
        }
        Ok(if joined.is_empty() { whole } else { joined.into() })
    };
    tokio::time::timeout(timeout, reading).await.unwrap_or_else(|_| Err(Problem::request_timeout()))
}

/// Appends to what is there, which grows by a quarter: what came is what is counted, so there must not be much room beside it.
fn append(joined: &mut Vec<u8>, data: &[u8]) {
    if joined.capacity() - joined.len() < data.len() {
        joined.reserve_exact(data.len().max(joined.len() / 4));
    }
    joined.extend_from_slice(data);
}

async fn discard(body: &mut impl RequestBody) {
    let mut discarded = 0;
    body.is_held(0);
    while discarded < DISCARDED_LEN_MAX {
        let Some(Ok(frame)) = body.frame().await else { return };
        discarded += frame.data_ref().map_or(0, Bytes::len);
        drop(frame);
        body.is_held(0);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use axum::body::HttpBody;
    use respoke_wire::input::BODY_LEN_MAX;

    use super::*;
    use crate::transport::CallerKey;

    /// A body of frames of these sizes, and how much of what came is held.
    #[derive(Default)]
    struct InFrames {
        sizes: std::collections::VecDeque<usize>,
        held: usize,
        most: usize,
    }

    impl HttpBody for InFrames {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            assert!(self.held <= self.most, "{} are held", self.held);
            let size = self.sizes.pop_front();
            self.held += size.unwrap_or_default();
            Poll::Ready(size.map(|size| Ok(hyper::body::Frame::data(Bytes::from(vec![b'x'; size])))))
        }
    }

    impl RequestBody for InFrames {
        fn is_held(&mut self, bytes: usize) {
            self.held = bytes;
        }

        fn is_of(&mut self, _: CallerKey) {}

        fn stands(&mut self, _: usize) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn a_body_is_whole_and_bounded() {
        for (sizes, expected) in [
            (vec![], Ok(0)),
            (vec![BODY_LEN_MAX], Ok(BODY_LEN_MAX)),
            (vec![1, 2, 3], Ok(6)),
            (vec![BODY_LEN_MAX, 1], Err("body_too_large")),
            (vec![10_000, 10_000, 1, 5_000_000], Err("body_too_large")),
            // What is thrown away is not held meanwhile.
            (vec![20_000; 30], Err("body_too_large")),
        ] {
            let body = InFrames { sizes: sizes.into(), most: BODY_LEN_MAX, ..InFrames::default() };
            let read = read_body(body, BODY_LEN_MAX, false, BODY_TIMEOUT).await;
            assert_eq!(read.map(|body| body.len()).map_err(|problem| problem.code()), expected);
        }
    }

    #[test]
    fn what_is_joined_takes_little_more_than_what_came() {
        for part in [1, 100, 5_000] {
            let mut joined = Vec::new();
            while joined.len() < 256 * 1024 {
                append(&mut joined, &vec![b'x'; part]);
                assert!(joined.capacity() <= joined.len() * 5 / 4 + part, "{} for {}", joined.capacity(), joined.len());
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        struct Silent;
        impl HttpBody for Silent {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
                Poll::Pending
            }
        }
        impl RequestBody for Silent {
            fn is_held(&mut self, _: usize) {}

            fn is_of(&mut self, _: CallerKey) {}

            fn stands(&mut self, _: usize) -> bool {
                true
            }
        }
        let read = read_body(Silent, BODY_LEN_MAX, false, Duration::from_millis(1)).await;
        assert_eq!(read.unwrap_err().code(), "request_timeout");
    }
}
