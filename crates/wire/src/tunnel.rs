//! Requests that come as events; [`crate::ack`] answers them.
//!
//! The event's name is the method. Its one argument holds url, headers and data, as JSON or as text that holds JSON.
//! What it says is made into what an HTTP request would have said; data stays raw JSON, read like any other body.
//!
//! Invariant: path and query hold only what a URI may hold. What comes raw is percent-encoded, never refused.
//!
//! # Source
//!
//! Section 3.6 of docs/protocol.md.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::input::{BODY_LEN_MAX, check_depth};
use crate::object;

/// The most headers of a request, those without a value included. Clients send two or three.
pub const HEADERS_MAX: usize = 32;

/// What no path or query holds as it is. `%` stays: it may begin an encoded character, and if it does not, the router
/// says so.
///
/// # Source
///
/// RFC 3986, section 3.3.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Why an event is no request. Each is answered if the event has an id.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TunnelError {
    /// The event or its argument is not of the form that Sails gives it.
    #[error("the event is not a well-formed request")]
    Malformed,
    /// The event's name is no method.
    #[error("the event is not named like a method")]
    UnknownMethod,
    /// There are more headers than [`HEADERS_MAX`].
    #[error("the request has more than 32 headers")]
    TooManyHeaders,
    /// The data is longer than [`BODY_LEN_MAX`].
    #[error("the data is larger than 20000 bytes")]
    DataTooLarge,
    /// The data is nested deeper than [`crate::input::DEPTH_MAX`].
    #[error("the data is nested more than 32 levels deep")]
    DataTooDeep,
}

/// What a request does. As an event's name it is in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes or does.
    Post,
    /// Replaces.
    Put,
    /// Ends.
    Delete,
    /// Changes.
    Patch,
}

impl Method {
    /// The name in HTTP.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
        }
    }

    /// The method of this name, in lower case.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        match name {
            "get" => Some(Self::Get),
            "post" => Some(Self::Post),
            "put" => Some(Self::Put),
            "delete" => Some(Self::Delete),
            "patch" => Some(Self::Patch),
            _ => None,
        }
    }
}

/// An event that is a request, its argument unwrapped from text but not read.
///
/// Text that is escaped has to be copied to be unwrapped; the request borrows from that copy and copies nothing more.
pub struct RequestEvent<'a> {
    /// What the request does.
    pub method: Method,
    argument: Cow<'a, str>,
}

/// A request as HTTP would have brought it.
pub struct Request<'a> {
    /// Path, beginning with a slash, percent-encoded or not decoded yet. Scheme and host are gone.
    pub path: Cow<'a, str>,
    /// What follows the `?`, without it.
    pub query: Option<Cow<'a, str>>,
    /// Headers in the order they came; names as they were written. Those whose value was no text are left out.
    pub headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The body, any JSON but `null`: within [`BODY_LEN_MAX`] and [`crate::input::DEPTH_MAX`].
    pub data: Option<&'a str>,
}

// Headers, query and data may hold tokens.
impl fmt::Debug for RequestEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestEvent").field("method", &self.method).finish_non_exhaustive()
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<'a> RequestEvent<'a> {
    /// Reads the data of an event: `{"name":"post","args":[<argument>]}`. Further arguments mean nothing.
    ///
    /// # Errors
    ///
    /// [`TunnelError::Malformed`] and [`TunnelError::UnknownMethod`].
    pub fn decode(data: &'a str) -> Result<Self, TunnelError> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            name: Cow<'a, str>,
            #[serde(borrow, default)]
            args: First<'a>,
        }
        let named: Named<'_> = serde_json::from_str(object::without_mark(data)).map_err(|_| TunnelError::Malformed)?;
        let method = Method::of_name(&named.name).ok_or(TunnelError::UnknownMethod)?;
        let argument = named.args.0.ok_or(TunnelError::Malformed)?.get();
        let argument = if argument.starts_with('"') {
            object::embedded(argument).ok_or(TunnelError::Malformed)?
        } else {
            Cow::Borrowed(argument)
        };
        Ok(Self { method, argument })
    }

    /// Reads the argument: `{"url":…,"headers":{…},"data":…}`.
    ///
    /// # Errors
    ///
    /// [`TunnelError`] in every variant but [`TunnelError::UnknownMethod`].
    pub fn request(&self) -> Result<Request<'_>, TunnelError> {
        #[derive(Deserialize)]
        struct Argument<'a> {
            #[serde(borrow)]
            url: Cow<'a, str>,
            #[serde(borrow)]
            headers: Option<Headers<'a>>,
            #[serde(borrow)]
            data: Option<&'a RawValue>,
            /// What `data` was called before.
            #[serde(borrow)]
            params: Option<&'a RawValue>,
        }
        let argument: Argument<'_> = serde_json::from_str(&self.argument).map_err(|_| TunnelError::Malformed)?;
        let headers = argument.headers.unwrap_or_default();
        if headers.count > HEADERS_MAX {
            return Err(TunnelError::TooManyHeaders);
        }
        let data = argument.data.or(argument.params).map(RawValue::get);
        if let Some(data) = data {
            check_data(data)?;
        }
        let (path, query) = match argument.url {
            Cow::Borrowed(url) => path_and_query(url),
            Cow::Owned(url) => {
                let (path, query) = path_and_query(&url);
                (Cow::Owned(path.into_owned()), query.map(|query| Cow::Owned(query.into_owned())))
            }
        };
        Ok(Request { path, query, headers: headers.list, data })
    }
}

/// The first element of a list.
#[derive(Default)]
struct First<'a>(Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = First<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let first = list.next_element()?;
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// Text that borrows if nothing in it is escaped, which a bare `Cow` never does.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The headers whose value is text, no more than are allowed, and how many there were in all.
#[derive(Default)]
struct Headers<'a> {
    list: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Headers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Headers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut headers = Headers::default();
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    headers.count += 1;
                    if headers.count <= HEADERS_MAX && value.get().starts_with('"') {
                        let Text(value) = serde_json::from_str(value.get()).map_err(A::Error::custom)?;
                        headers.list.push((name, value));
                    }
                }
                Ok(headers)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Whether what would be a body is one.
pub(crate) fn check_data(data: &str) -> Result<(), TunnelError> {
    if data.len() > BODY_LEN_MAX {
        return Err(TunnelError::DataTooLarge);
    }
    check_depth(data.as_bytes()).map_err(|_| TunnelError::DataTooDeep)
}

/// Path and query of a URL, encoded where they have to be.
pub(crate) fn path_and_query(url: &str) -> (Cow<'_, str>, Option<Cow<'_, str>>) {
    let url = without_origin(url);
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let encode = |text| Cow::from(utf8_percent_encode(text, ENCODED));
    let path = match encode(path) {
        path if path.starts_with('/') => path,
        path => Cow::Owned(format!("/{path}")),
    };
    (path, query.map(encode))
}

/// What follows scheme and host, which only the Node client sends.
fn without_origin(url: &str) -> &str {
    for scheme in ["http://", "https://"] {
        if let Some((start, rest)) = url.split_at_checked(scheme.len())
            && start.eq_ignore_ascii_case(scheme)
        {
            return rest.find(['/', '?', '#']).map_or("", |end| &rest[end..]);
        }
    }
    url
}

#[cfg(test)]
mod tests;
