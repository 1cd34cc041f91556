//! What the lists take: a page, an app, a filter.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::lenient::optional_u64;

/// What any list takes; each looks at the fields that mean something to it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListRequest {
    /// At most this many items.
    #[serde(default, deserialize_with = "optional_u64")]
    pub limit: Option<u64>,
    /// Where the last page ended.
    pub cursor: Option<String>,
    /// In which app.
    pub app_id: Option<String>,
    /// Only this endpoint's.
    pub endpoint_id: Option<String>,
    /// Only this role's.
    pub role_id: Option<String>,
    /// Only what was minted with this App-Secret.
    pub secret_id: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only this object.
    pub object: Option<String>,
    /// Only what this request did.
    pub request_id: Option<String>,
    /// Only this status or class of them.
    pub status: Option<String>,
    /// Only this route.
    pub route: Option<String>,
    /// Only from this address.
    pub address: Option<String>,
    /// Only what is on this node.
    pub node: Option<String>,
    /// Only what was made then or later.
    pub since: Option<String>,
    /// How the list is written.
    pub format: Option<String>,
}

/// Which part of a list; for the API document alone.
#[derive(Debug, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// At most this many items.
    #[param(minimum = 1, maximum = 200, default = 200)]
    pub limit: Option<u64>,
    /// The `Next-Cursor` of the page before.
    pub cursor: Option<String>,
}

/// Which part of a list that is whole unless a part is asked for; for the API document alone.
#[derive(Debug, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct PartParams {
    /// At most this many items, in order of their connections' ids; all of them if neither this nor `cursor` is given.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u64>,
    /// The `Next-Cursor` of the page before.
    pub cursor: Option<String>,
}

/// Which app; for the API document alone.
#[derive(Debug, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct AppParams {
    /// The app; with an App-Secret its own by default, with an Admin-Token the account's only one.
    #[param(format = Uuid, rename = "appId")]
    pub app_id: Option<String>,
}

/// Which tokens or sessions; for the API document alone.
#[derive(Debug, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct FilterParams {
    /// Only this endpoint's.
    #[param(min_length = 1, max_length = 256, rename = "endpointId")]
    pub endpoint_id: Option<String>,
    /// Only those with this role.
    #[param(format = Uuid, rename = "roleId")]
    pub role_id: Option<String>,
    /// Only those minted with the App-Secret of this id.
    #[param(format = Uuid, rename = "secretId")]
    pub secret_id: Option<String>,
}
