//! Pieces of nodes' logs of requests, as bytes.

use respoke_core::request_log::{LoggedRequest, RequestFilter, RequestsAsked, RequestsPiece, StatusFilter};

use super::shapes::{coded_fields, coded_kinds};

coded_kinds! { StatusFilter, "kind of status" {
    0 => Exactly(status),
    1 => Class(class),
}}

coded_fields! {
    RequestsAsked { filter, before, most }
    RequestFilter { app_id, endpoint_id, route, request_id, status }
    RequestsPiece { found, next }
    LoggedRequest {
        number, at, request_id, app_id, endpoint_id, caller, method, route, status, code, took_micros, address, over_socket,
    }
}
