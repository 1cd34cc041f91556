//! What of an HTTP request depends on the family of its route: how long its body may be, and how a refusal looks.

use axum::response::Response;
use respoke_wire::input::BODY_LEN_MAX;

use crate::console;
use crate::family::Family;
use crate::problem::{Problem, Shape};

/// The longest form of the console: a large role, once as switches and once as JSON, each form-encoded.
const CONSOLE_BODY_LEN_MAX: usize = 256 * 1024;

impl Family {
    pub(super) fn body_len_max(self) -> usize {
        match self {
            Self::Console => CONSOLE_BODY_LEN_MAX,
            Self::Api | Self::OAuth | Self::Elsewhere => BODY_LEN_MAX,
        }
    }

    /// Puts `problem` into `response`, as the answer to the request `request_id`.
    pub(super) fn render(self, problem: &Problem, response: &mut Response, request_id: &str) {
        match self {
            Self::OAuth => problem.render(response, request_id, Shape::OAuth),
            Self::Console => console::render_refusal(problem, response, request_id),
            Self::Api | Self::Elsewhere => problem.render(response, request_id, Shape::Recorded),
        }
    }
}
