//! The routes over HTTP: every operation of the table, and the pages.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get};
use respoke_wire::tunnel::Method;
use tower::Service;

use crate::api::try_it;
use crate::call::Call;
use crate::facts::Facts;
use crate::operations::{OPERATIONS, Operation, PendingAnswer};
use crate::problem::Problem;
use crate::state::Api;
use crate::{console, docs};

/// All routes: of the API, of the documents and of the console. Paths have lost their trailing slashes at the door.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let mut by_path = BTreeMap::<_, MethodRouter<Arc<Api>>>::new();
    for operation in OPERATIONS {
        for way in operation.ways {
            let entrance = Entrance { api: api.clone(), template: way.path, operation };
            let at_path = by_path.remove(way.path).unwrap_or_default();
            by_path.insert(way.path, at_path.on_service(filter(way.method), entrance));
        }
    }
    let operations = by_path.into_iter().fold(Router::new(), |router, (path, at_path)| router.route(path, at_path));
    operations
        .route("/openapi.json", get(docs::json))
        .route("/docs", get(docs::page))
        .route("/docs/style.css", get(docs::style))
        .route("/try", get(try_it::page))
        .route("/try/script.js", get(try_it::script))
        .route("/try/style.css", get(try_it::style))
        .merge(console::router())
        .fallback(async || Problem::no_such_route())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(api)
}

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Delete => MethodFilter::DELETE,
        Method::Patch => MethodFilter::PATCH,
    }
}

/// The way from an HTTP request to an operation.
#[derive(Clone)]
struct Entrance {
    api: Arc<Api>,
    template: &'static str,
    operation: &'static Operation,
}

impl Service<Request> for Entrance {
    type Response = Response;
    type Error = Infallible;
    type Future = Entered;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Entered {
        let (mut parts, _) = request.into_parts();
        let facts = parts.extensions.remove::<Arc<Facts>>().unwrap_or_else(Facts::of_nobody);
        let asked = (parts.method, parts.uri, parts.headers);
        match Call::new(facts, asked, self.template) {
            Ok(call) => Entered::Running(self.operation.run(self.api.clone(), call)),
            Err(problem) => Entered::Refused(Some(problem)),
        }
    }
}

/// An operation under way, or refused before it began.
enum Entered {
    Running(PendingAnswer),
    Refused(Option<Problem>),
}

impl Future for Entered {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Running(answer) => Pin::new(answer).poll(context).map(Ok),
            Self::Refused(problem) => {
                let problem = problem.take().unwrap_or_else(Problem::malformed_path);
                Poll::Ready(Ok(problem.into_response()))
            }
        }
    }
}
