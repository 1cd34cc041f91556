use respoke_core::code::Again;
use respoke_core::grant::Lapse;

use super::*;

const ID: &str = "00000000-0000-4000-8000-000000000000";

/// The status and body that a client sees of `problem`.
fn shown(problem: impl Into<Problem>, shape: Shape) -> (u16, String, http::HeaderMap) {
    let problem = problem.into();
    let mut response = problem.clone().into_response();
    problem.render(&mut response, ID, shape);
    let status = response.status().as_u16();
    let (parts, _) = response.into_parts();
    (status, String::from_utf8(problem.0.body(ID, shape)).unwrap(), parts.headers)
}

/// Refusals one after the other, each of its own kind: a new one needs its place here.
fn following(refusal: &Refusal) -> Option<Refusal> {
    let following = match refusal {
        Refusal::Unauthenticated => Refusal::TokenRefused(Some(Lapse::Redeemed)),
        Refusal::TokenRefused(_) => Refusal::BadLogin,
        Refusal::BadLogin => Refusal::WrongCode,
        Refusal::WrongCode => Refusal::SecondFactorRequired,
        Refusal::SecondFactorRequired => Refusal::Banned { reason: "spam".into() },
        Refusal::Banned { .. } => Refusal::Forbidden("no"),
        Refusal::Forbidden(_) => Refusal::EndpointReserved,
        Refusal::EndpointReserved => Refusal::OriginRefused,
        Refusal::OriginRefused => Refusal::NotFound("Roles"),
        Refusal::NotFound(_) => Refusal::missing("to"),
        Refusal::Invalid(_) => Refusal::Conflict("taken"),
        Refusal::Conflict(_) => Refusal::ConnectionLimit,
        Refusal::ConnectionLimit => Refusal::LimitReached("no"),
        Refusal::LimitReached(_) => Refusal::QuotaExceeded,
        Refusal::QuotaExceeded => Refusal::NotConnected,
        Refusal::NotConnected => Refusal::NoGateway,
        Refusal::NoGateway => Refusal::IdempotencyKeyReused,
        Refusal::IdempotencyKeyReused => Refusal::RateLimited { retry_after: std::time::Duration::from_millis(3_500) },
        Refusal::RateLimited { .. } => Refusal::Throttled { retry_after_secs: 4 },
        Refusal::Throttled { .. } => Refusal::Overloaded,
        Refusal::Overloaded => Refusal::Isolated,
        Refusal::Isolated => Refusal::NodeSilent,
        Refusal::NodeSilent => Refusal::NodeInDoubt,
        Refusal::NodeInDoubt => Refusal::Store(StoreError::Overloaded),
        Refusal::Store(StoreError::Overloaded) => Refusal::Store(StoreError::Unavailable("canary".into())),
        Refusal::Store(StoreError::Unavailable(_)) => Refusal::Store(StoreError::InDoubt("canary".into())),
        Refusal::Store(StoreError::InDoubt(_)) => Refusal::Store(StoreError::BadText("canary".into())),
        Refusal::Store(StoreError::BadText(_)) => Refusal::Store(StoreError::Corrupt("canary")),
        Refusal::Store(StoreError::Corrupt(_)) => return None,
    };
    Some(following)
}

fn all() -> Vec<Problem> {
    let refusals = std::iter::successors(Some(Refusal::Unauthenticated), following);
    let decode = [DecodeError::TooLarge, DecodeError::TooDeep, DecodeError::Malformed, DecodeError::NotText];
    refusals
        .map(Problem::from)
        .chain(decode.into_iter().map(Problem::from))
        .chain([
            Problem::no_such_route(),
            Problem::method_not_allowed(),
            Problem::request_timeout(),
            Problem::answers_unread(),
            Problem::head_too_large(),
            Problem::rate_limited(std::time::Duration::from_millis(1)),
        ])
        .collect()
}

#[test]
fn every_code_is_of_a_refusal_and_its_status_is_one() {
    let made: std::collections::BTreeSet<_> = all().iter().map(Problem::kind).collect();
    assert_eq!(made, Code::ALL.iter().copied().collect());
    for problem in all() {
        assert_eq!(problem.status().as_u16(), problem.kind().status());
        let waits = problem.kind().again() == Again::Later && problem.kind() != Code::RequestTimeout;
        let is_unknown = problem.kind() == Code::InDoubt;
        assert_eq!(problem.retry_after_secs().is_some(), waits || is_unknown, "{problem:?}");
    }
}

#[test]
fn refusals_look_as_recorded() {
    let (status, body, _) = shown(Refusal::NotFound("Roles"), Shape::Recorded);
    assert_eq!(status, 404);
    assert_eq!(body, format!(r#"{{"error":"Object 'Roles' not found.","code":"not_found","requestId":"{ID}"}}"#));
    let (status, body, _) = shown(Refusal::missing("to"), Shape::Recorded);
    assert_eq!(status, 400);
    assert_eq!(
        body,
        format!(
            r#"{{"error":"Validation Error.","code":"invalid","requestId":"{ID}","validationErrors":{{"to":["to is a missing required parameter."]}}}}"#
        )
    );
    let (status, body, _) = shown(Refusal::Banned { reason: "spam".into() }, Shape::Recorded);
    assert_eq!(status, 401);
    assert!(body.contains(r#""details":{"message":"This endpoint is suspended: spam","reason":"spam"}"#), "{body}");
    let (status, body, headers) = shown(Refusal::Throttled { retry_after_secs: 4 }, Shape::Recorded);
    assert_eq!((status, &headers[RETRY_AFTER]), (429, &HeaderValue::from_static("4")));
    assert!(body.starts_with(r#"{"error":"Too Many Requests","#), "{body}");
}

#[test]
fn oauth_gets_its_own_words() {
    let (status, body, headers) = shown(Refusal::Unauthenticated, Shape::OAuth);
    assert_eq!(status, 401);
    assert!(body.starts_with(r#"{"error":"invalid_client","error_description":"#), "{body}");
    assert!(body.contains(r#""code":"unauthenticated""#));
    assert!(headers.contains_key(WWW_AUTHENTICATE));
    let (_, body, _) = shown(Refusal::missing("token"), Shape::OAuth);
    assert!(body.contains("invalid_request") && body.contains("token is a missing"), "{body}");
}

#[test]
fn no_client_reads_a_cause_or_a_lapse() {
    for problem in all() {
        let (_, body, _) = shown(problem.clone(), Shape::Recorded);
        assert!(!body.contains("canary") && !body.contains("redeemed"), "{body}");
    }
    assert_eq!(Problem::from(Refusal::TokenRefused(Some(Lapse::Redeemed))).lapse(), Some("redeemed"));
}

#[test]
fn an_empty_bucket_asks_for_a_whole_second_at_least() {
    let (_, _, headers) = shown(Problem::rate_limited(std::time::Duration::from_millis(1_001)), Shape::Recorded);
    assert_eq!(headers[RETRY_AFTER], "2");
}

#[test]
fn what_the_server_logged_of_itself_is_not_logged_of_each_request() {
    assert!(!Problem::from(Refusal::Isolated).is_news());
    let no_database = Refusal::Store(StoreError::Unavailable("no route to the server".into()));
    assert!(Problem::from(no_database).is_news());
    assert!(Problem::from(Refusal::Overloaded).is_news());
}
