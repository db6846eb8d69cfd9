//! `/api/v1/tls`: the certificates in use, and what is wrong with them or with the files that were to take their place.
use axum::extract::State;
use axum::response::Response;

use crate::Api;
use crate::auth::Operator;
use crate::http::fresh::fresh;
use crate::http::problem::{Answer, Problem};
use crate::tls::TlsInForce;

/// Show the certificates in use
///
/// Of this process. Files that cannot be used, or are worse than what is in use, change nothing: `refused` says why.
#[utoipa::path(get, path = "/api/v1/tls", tag = "administration", responses(
    (status = 200, description = "Certificates, and what is wrong", body = TlsInForce),
    (status = 404, description = "This process has no ports with TLS", body = Problem),
))]
pub async fn tls(State(api): State<Api>, Operator(_): Operator) -> Answer<Response> {
    let show = api.tls().ok_or_else(|| {
        Problem::not_found("this process has no ports with TLS: give it certificates, or have one ordered ([acme])")
    })?;
    Ok(fresh(&show()))
}
