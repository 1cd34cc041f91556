//! The end of a server with clients on it.

use serde_json::json;

use crate::harness::{End, Process, Socket, data_folder};

#[test]
fn what_was_acked_and_not_read_yet_is_written_before_a_client_is_sent_away() {
    // More than the system buffers for a link, so that the rest waits in the outbox when the server is told to stop.
    const MESSAGES: usize = 1_000;
    let (data, _folder) = data_folder();
    let patient = ["--write-timeout-secs", "120", "--drain-secs", "60"];
    let outbox = ["--outbox-frames-max", "10000", "--outbox-bytes-max", "100000000"];
    let process = Process::spawn(&data, &[&outbox[..], &patient].concat()).with_app();
    process.unlimited(&process.admin_token("owner"));
    let (mut late, mut sender) = (process.connect("late"), process.connect("sender"));
    let text = "x".repeat(15_000);
    for number in 0..MESSAGES {
        sender.post("/v1/messages", json!({"to": "late", "message": format!("{number} {text}")})).ok();
    }
    let others: Vec<_> = (0..20).map(|number| process.connect(&format!("other {number}"))).collect();
    process.signal("TERM");
    let going_away = End { goodbye: false, code: Some(1001) };
    // It reads on when it was sent away: once the others were, it was as well, or is the last of them.
    for mut other in others {
        assert_eq!(other.end(), going_away);
    }
    assert_eq!(late.end(), going_away);
    let messages = late.kept();
    assert_eq!(messages.len(), MESSAGES);
    for (number, message) in messages.iter().enumerate() {
        assert_eq!(*message, format!("message sender {number} {text}"));
    }
    assert_eq!(process.wait(), 0);
}

#[test]
fn clients_are_sent_away_without_a_gap_in_what_was_acked_for_them() {
    let (data, _folder) = data_folder();
    let process = Process::spawn(&data, &[]).with_app();
    process.unlimited(&process.admin_token("owner"));
    let mut receivers: Vec<Socket> = (0..5).map(|number| process.connect(&format!("receiver-{number}"))).collect();
    let unopened = process.sid(&format!("app-secret={}", process.secret));
    let mut sender = process.connect("sender");
    let sending = std::thread::spawn(move || {
        // Until it is sent away; what was acked counts.
        let mut acked = 0;
        loop {
            for receiver in 0..5 {
                let to = format!("receiver-{receiver}");
                let id = sender.request("post", "/v1/messages", json!({"to": to, "message": acked}));
                match sender.ack_or_end(id) {
                    Ok(ack) => drop(ack.ok()),
                    Err(end) => return (acked, end),
                }
            }
            acked += 1;
        }
    });
    receivers[4].push("message sender 20");
    process.signal("TERM");
    assert_eq!(process.wait(), 0);
    let (acked, end) = sending.join().unwrap();
    let going_away = End { goodbye: false, code: Some(1001) };
    assert_eq!(end, going_away);
    assert!(acked > 20);
    for (number, receiver) in receivers.iter_mut().enumerate() {
        assert_eq!(receiver.end(), going_away);
        let messages = receiver.kept();
        let first = if number == 4 { 21 } else { 0 };
        // It may itself have been sent away before the sender was; up to then it misses nothing.
        let expected: Vec<_> =
            (first..first + messages.len()).map(|message| format!("message sender {message}")).collect();
        assert_eq!(messages, expected);
    }
    drop(unopened);
}
