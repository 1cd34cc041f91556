//! What all operations of the `OpenAPI` document have in common: refusals, headers, ways to prove who one is.

use std::collections::BTreeMap;

use respoke_core::code::Code;
use respoke_wire::body::problem::{Details, OAuthProblemBody, ProblemBody};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, Modify, PartialSchema};

const PROBLEM: &str = "Problem";
const OAUTH_PROBLEM: &str = "OAuthProblem";

/// Refusals that operations share, by status.
const REFUSALS: &[(&str, &str)] = &[
    ("400", "The input cannot be read, or fields are missing or wrong"),
    ("401", "No credential, or one that is not valid"),
    ("403", "Not permitted"),
    ("404", "There is no such object, or none that the caller may know of"),
    ("408", "The body did not arrive in time"),
    (
        "409",
        "The object is not in the state the request needs, or the request came without a connection, or over a socket and cannot be answered there",
    ),
    ("413", "The body is larger than 20,000 bytes"),
    ("422", "The Idempotency-Key was used for a different request"),
    ("429", "Too many requests or failed attempts"),
    ("500", "The server failed"),
    ("503", "The database cannot be used now"),
];
const ANY: &[&str] = &["400", "401", "403", "408", "413", "429", "500", "503"];

fn shared(family: &str, statuses: &[&str]) -> BTreeMap<String, RefOr<Response>> {
    let reference = |status: &&str| {
        let reference = Ref::new(format!("#/components/responses/{family}{status}"));
        ((*status).to_owned(), RefOr::Ref(reference))
    };
    statuses.iter().map(reference).collect()
}

/// What any operation may answer.
pub(crate) struct Refused;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        shared(PROBLEM, ANY)
    }
}

/// What an operation on a named object may answer as well.
pub(crate) struct Missing;

impl IntoResponses for Missing {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        shared(PROBLEM, &["404"])
    }
}

/// What an operation that creates may answer as well.
pub(crate) struct Conflicts;

impl IntoResponses for Conflicts {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        shared(PROBLEM, &["409", "422"])
    }
}

/// What an operation that looks at an `Idempotency-Key`, and creates nothing that could be there, may answer as well.
pub(crate) struct Reused;

impl IntoResponses for Reused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        shared(PROBLEM, &["422"])
    }
}

/// What an operation may answer as well that needs a connection, or that not all of is done over a socket.
pub(crate) struct Unconnected;

impl IntoResponses for Unconnected {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        shared(PROBLEM, &["409"])
    }
}

/// What the OAuth routes may answer.
pub(crate) struct OAuthRefused;

impl IntoResponses for OAuthRefused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        shared(OAUTH_PROBLEM, ANY)
    }
}

/// What a server that is not ready answers.
pub(crate) struct Unready;

impl IntoResponses for Unready {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        shared(OAUTH_PROBLEM, &["500", "503"])
    }
}

/// Adds what the handlers' annotations leave out.
pub(crate) struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        let schemas = &mut components.schemas;
        schemas.insert(PROBLEM.to_owned(), with_codes(ProblemBody::schema()));
        schemas.insert(OAUTH_PROBLEM.to_owned(), with_codes(OAuthProblemBody::schema()));
        schemas.insert("Details".to_owned(), Details::schema());
        for (name, kind, description) in HEADERS {
            let schema = ObjectBuilder::new().schema_type(kind.clone()).build();
            let header = HeaderBuilder::new().schema(Some(schema)).description(Some(*description)).build();
            components.headers.insert((*name).to_owned(), RefOr::T(header));
        }
        for (status, description) in REFUSALS {
            for family in [PROBLEM, OAUTH_PROBLEM] {
                let oauth = family == OAUTH_PROBLEM;
                // OAuth has words for these two only.
                let schema = if oauth && !matches!(*status, "400" | "401") { PROBLEM } else { family };
                let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
                let mut response = ResponseBuilder::new()
                    .description(description_of(status, description))
                    .content("application/json", content)
                    .build();
                add_headers(&mut response, status, !oauth);
                components.responses.insert(format!("{family}{status}"), RefOr::T(response));
            }
        }
        for (name, scheme) in schemes() {
            components.add_security_scheme(name, scheme);
        }
        let paths = &mut document.paths.paths;
        for (path, item) in paths.iter_mut() {
            let limited = path.starts_with("/v1/");
            for (method, operation) in operations(item) {
                for (status, response) in &mut operation.responses.responses {
                    let RefOr::T(response) = response else { continue };
                    add_headers(response, status, limited);
                    if method != "get" && status.starts_with('2') {
                        refer(response, CONFIRMED);
                    }
                }
            }
        }
    }
}

/// What a refusal of this status may be about.
fn description_of(status: &str, description: &str) -> String {
    let codes = Code::ALL.iter().filter(|code| code.status().to_string() == status);
    let codes: Vec<_> = codes.map(|code| format!("`{}`", code.word())).collect();
    format!("{description}: {}", codes.join(", "))
}

/// The schema of a refusal, which names the codes there are. They are no `enum`: a client that was generated from one would
/// not read the answers of a server that knows one code more.
fn with_codes(mut schema: RefOr<Schema>) -> RefOr<Schema> {
    if let RefOr::T(Schema::Object(problem)) = &mut schema
        && let Some(RefOr::T(Schema::Object(code))) = problem.properties.get_mut("code")
    {
        let words: Vec<_> = Code::ALL.iter().map(|code| code.word()).collect();
        code.extensions = Some(Extensions::builder().add("x-extensible-enum", words).build());
    }
    schema
}

/// Name, type and meaning.
const HEADERS: &[(&str, Type, &str)] = &[
    ("Request-Id", Type::String, "Names the request, here and in the server's log"),
    ("RateLimit-Limit", Type::Integer, "Requests a second, from 1 to 1000"),
    ("RateLimit-Time-Units", Type::String, "Always `seconds`"),
    ("RateLimit-Remaining", Type::Integer, "Requests that may follow at once"),
    ("Retry-After", Type::Integer, "Seconds to wait"),
    (
        CONFIRMED,
        Type::String,
        "Where several nodes serve, and something was ended or changed that all have to know of: how many of how many know, \
         such as `3/3`",
    ),
];

const CONFIRMED: &str = "Respoke-Confirmed";

fn add_headers(response: &mut Response, status: &str, limited: bool) {
    for (name, ..) in HEADERS {
        let applies = match *name {
            "Request-Id" => true,
            "Retry-After" => matches!(status, "429" | "503"),
            CONFIRMED => false,
            _ => limited,
        };
        if applies {
            refer(response, name);
        }
    }
}

fn refer(response: &mut Response, header: &str) {
    let reference = RefOr::Ref(Ref::new(format!("#/components/headers/{header}")));
    response.headers.insert(header.to_owned(), reference);
}

/// The operations of a path, with their methods.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let methods = [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("delete", &mut item.delete),
        ("patch", &mut item.patch),
    ];
    methods.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn schemes() -> [(&'static str, SecurityScheme); 6] {
    let header =
        |name, description| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, description)));
    let http = |scheme, description| {
        SecurityScheme::Http(HttpBuilder::new().scheme(scheme).description(Some(description)).build())
    };
    let basic = http(HttpAuthScheme::Basic, "The app's id as user name and an App-Secret as password; at /oauth only");
    let bearer = http(HttpAuthScheme::Bearer, "An App-Secret; at /oauth only");
    [
        ("App-Token", header("App-Token", "An endpoint in session; a query parameter of that name is taken too")),
        ("App-Secret", header("App-Secret", "An app's backend")),
        (
            "App-Secret-Query",
            SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description("App-Secret", "An app's backend"))),
        ),
        ("Admin-Token", header("Admin-Token", "An admin; a query parameter of that name is taken too")),
        ("OAuth-Client", basic),
        ("Bearer", bearer),
    ]
}
