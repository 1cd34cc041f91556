//! Query, content type and body, the three parts divided by line ends, into every request body there is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use respoke_wire::body::{
    apps, bans, call_debugs, conversations, ends, groups, history, messages, presence, push_tokens, roles, secrets,
    session_tokens, sessions, signaling, tokens,
};
use respoke_wire::form;
use respoke_wire::input::{Input, read, read_strictly};
use respoke_wire::object;

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
    let _ = read::<groups::PublishMessage>(input);
    let _ = read::<presence::SetPresence>(input);
    let _ = read_strictly::<ends::InApp>(input);
    let _ = read_strictly::<bans::CreateBan>(input);
    let _ = read_strictly::<secrets::RollSecret>(input);
    if let Ok(signaling::SendSignal { signal: Some(signal), .. }) = read(input)
        && let Some(signal) = signaling::SendSignal::object(signal)
    {
        object::members(signal.get(), |_| {}).expect("a signal is an object");
    }
    // A query that names none of them changes no payload, and causes no refusal.
    let payload = |read: messages::SendMessage| read.message.map(|message| message.get().to_owned());
    let said = |query| read::<messages::SendMessage>(Input { query, ..input }).map(payload);
    assert_eq!(said(None), said(Some("t=1")));
    let _ = form::pairs(input.body).map(Iterator::count);
});
