//! The console's login: a token for a cookie that scripts of the page cannot read. `POST` logs in, `GET` tells who is logged in, `DELETE`
//! logs out. Wrong tokens cost their address its tries.
use std::net::IpAddr;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millstream_proto::secret::Secret;
use millstream_store::item::{Change, Expect, PAGE_ITEMS_MAX, Query};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Viewer;
use super::caller::{self, ADMIN_TOKEN_ID, COOKIE};
use super::who::{Caller, Login, login_key};
use crate::Api;
use crate::http::extract::ShortJson;
use crate::http::gate;
use crate::http::problem::{Answer, Problem};
use crate::model::token::{Digest, Role, random};
use crate::model::{self, LOGIN, TOKEN};

/// How long a login lasts, seconds: a working day.
const LOGIN_S: u64 = 12 * 3_600;
/// Logins of one token at the same time; the oldest ends when there is one more.
const LOGINS_PER_TOKEN_MAX: usize = 32;
/// Where a login comes from.
#[derive(Clone, Copy, Debug)]
pub struct From {
    address: Option<IpAddr>,
    same_origin: bool,
    tls: bool,
}

impl FromRequestParts<Api> for From {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Answer<Self> {
        let address = caller::address(parts).map(|address| address.ip());
        let tls = parts.extensions.get::<gate::Local>().is_some_and(|local| local.tls);
        Ok(Self { address, same_origin: gate::same_origin(&parts.headers, api.public_url()), tls })
    }
}

/// What is sent to log in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// An API token.
    #[schema(max_length = 256)]
    token: LoginToken,
}

/// Text that does not print.
#[derive(Debug)]
struct LoginToken(Secret);

impl<'de> Deserialize<'de> for LoginToken {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Secret::new(text)))
    }
}

impl utoipa::PartialSchema for LoginToken {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

impl ToSchema for LoginToken {}

/// Who is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoggedIn {
    /// The token's name and id.
    who: String,
    /// What it may do.
    role: Role,
    /// What requests that change something must carry as `X-CSRF-Token`; null where the request came with a bearer token.
    csrf: Option<String>,
    /// Until when the login is good, Unix milliseconds; null where the request came with a bearer token.
    expires_unix_ms: Option<u64>,
}

impl LoggedIn {
    fn of(caller: Caller) -> Self {
        let (csrf, expires) = caller.login.map(|login| (login.csrf, login.expires_ms)).unzip();
        Self { who: caller.who, role: caller.role, csrf, expires_unix_ms: expires }
    }
}

/// Log in
///
/// Takes a token and gives a cookie, for browsers. Five wrong tokens a minute are one address's limit. A token has at most 32 logins at the
/// same time: one more ends the oldest. It may be logged in with 40 times at once, and then once a minute.
#[utoipa::path(post, path = "/api/v1/login", tag = "login", request_body = LoginRequest, security(()), responses(
    (status = 200, description = "Logged in; the cookie is set", body = LoggedIn),
    (status = 401, description = "The token is not good", body = Problem),
    (status = 403, description = "The request came from a page of another origin", body = Problem),
    (status = 429, description = "Too many wrong tokens, or logins of this one", body = Problem),
))]
pub async fn log_in(
    State(api): State<Api>,
    from: From,
    ShortJson(request): ShortJson<LoginRequest>,
) -> Answer<Response> {
    if !from.same_origin {
        return Err(Problem::new(StatusCode::FORBIDDEN, "csrf", "log in from a page of this server"));
    }
    let now_ms = api.clock().now_ms();
    let Some(caller) = caller::by_token(&api, request.token.0.expose()).await? else {
        if let Some(wait_s) = api.failures().count(from.address, now_ms) {
            let detail = format!("too many wrong tokens; try again in {wait_s} s");
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-logins", detail);
            return Err(problem.with(header::RETRY_AFTER, wait_s.into()));
        }
        tracing::warn!(address = ?from.address, "a login with a wrong token");
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "the token is not good"));
    };
    if let Some(wait_s) = api.logins().count(&caller.token_id, now_ms) {
        let detail = format!(
            "this token was logged in with too often; try again in {wait_s} s. Scripts need no login: send it as Authorization: Bearer TOKEN"
        );
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-logins", detail);
        return Err(problem.with(header::RETRY_AFTER, wait_s.into()));
    }
    let caller = Caller { address: from.address.map(|address| address.to_string()).unwrap_or_default(), ..caller };
    let token_digest = if caller.token_id == ADMIN_TOKEN_ID {
        Digest::of(request.token.0.expose()).text()
    } else {
        let kept = model::load::<model::token::TokenRecord>(api.store(), TOKEN, &caller.token_id).await?;
        kept.map(|kept| kept.value.digest).unwrap_or_default()
    };
    let cookie = Secret::new(format!("{}.{}", caller.token_id, URL_SAFE_NO_PAD.encode(random::<32>()?)));
    let key = login_key(cookie.expose()).unwrap_or_default();
    let login = Login {
        token_id: caller.token_id.clone(),
        token_digest,
        csrf: URL_SAFE_NO_PAD.encode(random::<32>()?),
        expires_ms: now_ms + LOGIN_S * 1_000,
        key: key.clone(),
    };
    let mut changes = make_room(&api, &caller.token_id).await?;
    changes.push(model::to_put((LOGIN, &key), Expect::Any, Some(login.expires_ms), &login));
    // Of 256 random bits, so nothing is there.
    let _ = api.logged(&caller, ("login", &caller.token_id), Vec::new(), changes).await?;
    let secure = if from.tls || api.secure() { "; Secure" } else { "" };
    let set = format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/; Max-Age={LOGIN_S}{secure}", cookie.expose());
    let body = axum::Json(LoggedIn::of(Caller { login: Some(login), ..caller }));
    Ok(([(header::SET_COOKIE, header_of(&set)?), no_store()], body).into_response())
}

/// The end of the oldest logins of a token where it has as many as it may have.
async fn make_room(api: &Api, token_id: &str) -> Answer<Vec<Change>> {
    let query = Query { prefix: format!("{token_id}/"), limit: PAGE_ITEMS_MAX, ..Query::all(LOGIN) };
    let mut logins = api.store().page(query).await?.items;
    logins.sort_by_key(|item| item.expires_ms);
    let too_many = (logins.len() + 1).saturating_sub(LOGINS_PER_TOKEN_MAX);
    // More than these there are only where logins came at the same moment: then the rest goes with the next one.
    let oldest = logins.iter().take(too_many.min(LOGINS_PER_TOKEN_MAX));
    Ok(oldest.map(|item| model::to_delete((LOGIN, &item.key), Expect::Any)).collect())
}

/// Who am I
#[utoipa::path(get, path = "/api/v1/login", tag = "login", responses(
    (status = 200, description = "Whose credentials the request has", body = LoggedIn),
))]
pub async fn who_am_i(Viewer(caller): Viewer) -> Response {
    ([no_store()], axum::Json(LoggedIn::of(caller))).into_response()
}

/// Log out
#[utoipa::path(delete, path = "/api/v1/login", tag = "login", responses(
    (status = 204, description = "The login, if there was one, is over"),
))]
pub async fn log_out(State(api): State<Api>, Viewer(caller): Viewer) -> Answer<Response> {
    if let Some(Login { key, .. }) = &caller.login {
        let delete = model::to_delete((LOGIN, key), Expect::Any);
        let _ = api.logged(&caller, ("logout", &caller.token_id), Vec::new(), vec![delete]).await?;
    }
    let gone = format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, header_of(&gone)?)]).into_response())
}

fn header_of(text: &str) -> Answer<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| Problem::bad_request("this cannot be said in a header"))
}

fn no_store() -> (header::HeaderName, HeaderValue) {
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}
