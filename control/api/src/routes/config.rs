//! `/api/v1/config`: the configuration in force, without its secrets.
use axum::extract::State;
use axum::response::Response;

use crate::Api;
use crate::auth::Admin;
use crate::http::fresh::fresh;

/// Show the configuration
///
/// As it is in force: flags over environment over file over defaults. Secrets are shown as how many there are.
#[utoipa::path(get, path = "/api/v1/config", tag = "administration", responses(
    (status = 200, description = "Tables and keys as in the file", body = serde_json::Map<String, serde_json::Value>),
))]
pub async fn config(State(api): State<Api>, Admin(_): Admin) -> Response {
    fresh(api.config())
}
