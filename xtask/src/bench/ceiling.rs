//! The ceiling: a bare axum server that reads the same requests and answers the same bodies, without storage.
//!
//! It is what performance.md found fastest: an axum `Router` on hyper's HTTP/1 builder, `TCP_NODELAY`, one
//! current-thread runtime. It checks no credential, counts nothing, keeps nothing and sets no header of its own,
//! so what respoked loses against it is the price of everything respoked does.

use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, io};

use anyhow::Context;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// How `xtask ceiling` is called; the benchmark does it itself.
#[derive(clap::Args)]
pub(crate) struct CeilingArgs {
    /// A JSON file of the bodies to answer; without it, bodies of the documented shapes.
    #[arg(long)]
    answers: Option<PathBuf>,
}

/// The body to answer to each kind of request, as the measured server answered once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answers {
    pub(crate) mint: String,
    pub(crate) redeem: String,
    pub(crate) session_check: String,
    pub(crate) introspect: String,
}

impl Default for Answers {
    fn default() -> Self {
        let token = "7C5F1B0A-3E0D-4C58-9D2E-7B1A60C4F9E3";
        let app = "4f6c1a52-98d3-4b0e-8a77-1f2e3d4c5b6a";
        let role = "9E2D4C1B-7A60-4F3E-8B5D-0C1A2E3F4D5B";
        Self {
            mint: format!(
                r#"{{"appId":"{app}","endpointId":"user-12345","roleId":"{role}","accountId":"{token}","createTime":1795444757,"expiryTime":1795448357,"id":"{token}","forDevelopment":false,"createdAt":"2026-11-23T20:05:57.000Z","tokenId":"{token}"}}"#
            ),
            redeem: format!(r#"{{"message":"Authorization successful","token":"{token}"}}"#),
            session_check: format!(
                r#"{{"appId":"{app}","endpointId":"user-12345","roleId":"{role}","createTime":1795444757,"expiryTime":1795448357}}"#
            ),
            introspect: format!(
                r#"{{"active":true,"sub":"user-12345","client_id":"{app}","scope":"{role}","iat":1795444757,"exp":1795448357}}"#
            ),
        }
    }
}

/// Serves until it is asked to end.
pub(crate) fn serve_ceiling(args: &CeilingArgs) -> anyhow::Result<()> {
    let answers = match &args.answers {
        Some(file) => serde_json::from_slice(&fs::read(file)?).context("the answers' file is not as expected")?,
        None => Answers::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(router(&answers)))
}

async fn serve(router: Router) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ceiling listening on http://{}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => return Ok(()),
            accepted = listener.accept() => {
                connections.spawn(converse(accepted?.0, router.clone()));
            }
            Some(_) = connections.join_next() => (),
        }
    }
}

async fn converse(stream: TcpStream, router: Router) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let service = TowerToHyperService::new(router);
    // The client may leave in the middle; there is nothing to clean up then.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    Ok(())
}

/// The bodies, ready to send.
struct Bodies {
    mint: Bytes,
    redeem: Bytes,
    session_check: Bytes,
    introspect: Bytes,
}

fn router(answers: &Answers) -> Router {
    let bytes = |text: &String| Bytes::from(text.clone());
    let bodies = Bodies {
        mint: bytes(&answers.mint),
        redeem: bytes(&answers.redeem),
        session_check: bytes(&answers.session_check),
        introspect: bytes(&answers.introspect),
    };
    Router::new()
        .route("/v1/tokens", post(mint))
        .route("/v1/session-tokens", post(redeem).get(session_check))
        .route("/oauth/introspect", post(introspect))
        .with_state(Arc::new(bodies))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mint {
    app_id: String,
    endpoint_id: String,
    role_id: String,
    ttl: u64,
}

async fn mint(State(bodies): State<Arc<Bodies>>, Json(mint): Json<Mint>) -> Response {
    if mint.app_id.is_empty() || mint.endpoint_id.is_empty() || mint.role_id.is_empty() || mint.ttl == 0 {
        return StatusCode::BAD_REQUEST.into_response();
    }
    json(&bodies.mint)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Redeem {
    token_id: String,
}

async fn redeem(State(bodies): State<Arc<Bodies>>, Json(redeem): Json<Redeem>) -> Response {
    if redeem.token_id.is_empty() {
        return StatusCode::BAD_REQUEST.into_response();
    }
    json(&bodies.redeem)
}

async fn session_check(State(bodies): State<Arc<Bodies>>) -> Response {
    json(&bodies.session_check)
}

async fn introspect(State(bodies): State<Arc<Bodies>>, form: Bytes) -> Response {
    if !form_urlencoded::parse(&form).any(|(name, _)| name == "token") {
        return StatusCode::BAD_REQUEST.into_response();
    }
    json(&bodies.introspect)
}

fn json(body: &Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.clone()).into_response()
}
