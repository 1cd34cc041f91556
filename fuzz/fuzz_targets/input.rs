//! Query, content type and body, the three parts divided by line ends, into every request body there is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use respoke_wire::body::{
    apps, call_debugs, conversations, history, push_tokens, roles, session_tokens, sessions, tokens,
};
use respoke_wire::input::{Input, read};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut text = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
    let (query, content_type) = (text(), text());
    let input = Input { query, content_type, body: parts.next().unwrap_or_default() };
    let _ = read::<tokens::IssueToken>(input);
    let _ = read::<session_tokens::CreateSessionToken>(input);
    let _ = read::<sessions::EndSessions>(input);
    let _ = read::<apps::WriteApp>(input);
    let _ = read::<roles::WriteRole>(input);
    let _ = read::<history::ReadHistory>(input);
    let _ = read::<history::SearchHistory>(input);
    let _ = read::<conversations::WriteReadMarks>(input);
    let _ = read::<push_tokens::WritePushToken>(input);
    let _ = read::<call_debugs::WriteCallReport>(input);
});
