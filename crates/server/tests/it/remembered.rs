//! What the server remembers of those who came and went.

use crate::harness::Server;

#[test]
fn sessions_that_are_over_are_not_remembered() {
    let server = Server::start();
    server.unlimited(&server.admin_token("admin"));
    let sessions: Vec<String> = (0..50).map(|nth| server.session(&format!("endpoint {nth}"))).collect();
    assert!(sessions.iter().all(|session| server.alive(session)));
    server.broker.sweep();
    assert_eq!(server.broker.remembered_sessions(), 50, "what is alive is remembered");
    for session in &sessions[..20] {
        server.delete("/v1/session-tokens").token(session).call().ok();
    }
    server.broker.sweep();
    // What goes with one that ended is what was in the same part of the memory; others would have to be asked for again.
    assert!(server.broker.remembered_sessions() <= 30);
    assert!(sessions[20..].iter().all(|session| server.alive(session)));
    assert_eq!(server.broker.remembered_sessions(), 30);
    server.clock.advance_secs(25 * 3_600);
    server.broker.sweep();
    assert_eq!(server.broker.remembered_sessions(), 0, "their time is over");
}
