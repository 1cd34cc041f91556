//! `/console/setup`: where the link leads that the first start prints. Its token stands behind the `#`, which browsers
//! keep to themselves, so no log on the way holds it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::SET_COOKIE;
use maud::{Markup, html};
use respoke_core::refusal::Refusal;
use respoke_core::secret::Secret;

use super::form::Form;
use super::layout::{field, outside};
use super::visit::{Failure, check_own_page, see, set_cookie};
use crate::api::admin_sessions::sign_in_by_link;
use crate::call::Call;
use crate::state::Api;

/// `GET`: the form, which the script fills in and sends.
pub(super) async fn page(State(api): State<Arc<Api>>, call: Call) -> Result<Response, Failure> {
    call.admit_anonymous(&api)?;
    Ok(outside(StatusCode::OK, "Setup", &body(None)))
}

/// `POST`: spends the token.
pub(super) async fn begin(State(api): State<Arc<Api>>, call: Call) -> Result<Response, Failure> {
    call.admit_anonymous(&api)?;
    check_own_page(&call)?;
    let form = Form::sent(&call)?;
    let token = Secret::new(form.text("token").to_owned());
    match sign_in_by_link(&api, &call, &token).await {
        Ok(token) => {
            let cookie = set_cookie(Some(&token), call.is_encrypted())?;
            Ok(([(SET_COOKIE, cookie)], see("/console/apps?done=set-up")).into_response())
        }
        Err(Refusal::BadLogin) => {
            let refused = call.counted(&api, Refusal::BadLogin);
            if refused.status() != StatusCode::UNAUTHORIZED {
                return Err(refused.into());
            }
            let said =
                "This link was used before, or is older than a day. Sign in with the user name and the password.";
            Ok(outside(StatusCode::UNAUTHORIZED, "Setup", &body(Some(said))))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn body(error: Option<&str>) -> Markup {
    html! {
        section.card {
            h1 { "Welcome" }
            @if let Some(error) = error {
                p.notice.bad role="alert" { (error) }
                p { a.button.primary href="/console/sign-in" { "Sign in" } }
            } @else {
                p { "The link that the server printed signs you in, once." }
                form method="post" action="/console/setup" data-setup {
                    (field("token", "What stands behind the # of the link", "", &html! {
                        input id="token" name="token" type="password" required autocomplete="off";
                    }))
                    button.primary.wide { "Begin" }
                }
            }
        }
    }
}
