//! From a request's credentials to who calls. A bearer token is for scripts; a cookie is for the console, and asks for more: requests
//! that change something must carry the login's CSRF token, and come from the page that the server itself has served.
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::who::{Caller, ForAssistant, Login, login_key};
use crate::Api;
use crate::http::extract::text_header;
use crate::http::gate;
use crate::http::problem::{Answer, Problem};
use crate::model::token::{Digest, Role, TokenRecord, id_of};
use crate::model::{self, LOGIN, TOKEN};

/// The cookie of a login.
pub const COOKIE: &str = "millstream_login";
/// The header that carries a login's CSRF token.
pub const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");
/// Who the holder of the data directory's `admin-token` is in the audit log.
pub const ADMIN_TOKEN_ID: &str = "admin-token";
/// Bytes of an `Authorization` header that are looked at.
const TOKEN_BYTES_MAX: usize = 256;

/// Asks for the role viewer.
#[derive(Clone, Debug)]
pub struct Viewer(pub Caller);
/// Asks for the role operator.
#[derive(Clone, Debug)]
pub struct Operator(pub Caller);
/// Asks for the role admin.
#[derive(Clone, Debug)]
pub struct Admin(pub Caller);

impl FromRequestParts<Api> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Answer<Self> {
        caller(parts, api, Role::Viewer).await.map(Self)
    }
}

impl FromRequestParts<Api> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Answer<Self> {
        caller(parts, api, Role::Operator).await.map(Self)
    }
}

impl FromRequestParts<Api> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Answer<Self> {
        caller(parts, api, Role::Admin).await.map(Self)
    }
}

/// Where a request came from.
pub(crate) fn address(parts: &Parts) -> Option<SocketAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| *address)
}

/// Who calls, where they may do what needs this role.
pub(crate) async fn caller(parts: &Parts, api: &Api, needed: Role) -> Answer<Caller> {
    let caller = identify(parts, api).await?;
    if caller.role < needed {
        let (has, needs) = (caller.role.as_str(), needed.as_str());
        let detail = format!("this needs the role {needs}, and the token has the role {has}; use another token");
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    Ok(caller)
}

/// Who calls, whatever they may do. `Authorization` counts where both it and a cookie are there.
async fn identify(parts: &Parts, api: &Api) -> Answer<Caller> {
    let from = address(parts).map(|address| address.ip().to_string()).unwrap_or_default();
    let is_assistant = parts.extensions.get::<ForAssistant>().is_some();
    if let Some(value) = text_header(&parts.headers, &header::AUTHORIZATION)? {
        let (scheme, token) = value.split_once(' ').unwrap_or((&value, ""));
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(unauthenticated("send the token as Authorization: Bearer TOKEN"));
        }
        let known = by_token(api, token).await?;
        let known = known.ok_or_else(|| unauthenticated("the token is not known, or has expired or been removed"))?;
        return Ok(Caller { address: from, is_assistant, ..known });
    }
    let Some(cookie) = cookie(&parts.headers) else {
        return Err(unauthenticated(
            "send a token as Authorization: Bearer TOKEN; the first one is in the file admin-token of the data directory",
        ));
    };
    let known = by_cookie(api, cookie).await?.ok_or_else(|| unauthenticated("the login is over; log in again"))?;
    hold_cookie_rules(api, parts, &known)?;
    Ok(Caller { address: from, is_assistant, ..known })
}

fn unauthenticated(detail: &str) -> Problem {
    let challenge = HeaderValue::from_static("Bearer realm=\"millstream\"");
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail).with(header::WWW_AUTHENTICATE, challenge)
}

/// The holder of a token.
pub(crate) async fn by_token(api: &Api, token: &str) -> Answer<Option<Caller>> {
    let digest = Digest::of(token);
    if api.admin_token().is_some_and(|admin| admin.same(&digest)) {
        return Ok(Some(first_admin()));
    }
    let Some(id) = id_of(token) else { return Ok(None) };
    let kept = model::load::<TokenRecord>(api.store(), TOKEN, id).await?;
    Ok(kept
        .map(|kept| kept.value)
        .filter(|record| record.digest_is(&digest) && good(api, record))
        .map(|r| holder(id, &r)))
}

fn good(api: &Api, record: &TokenRecord) -> bool {
    record.expires_ms.is_none_or(|at| api.clock().now_ms() < at)
}

fn first_admin() -> Caller {
    Caller {
        who: ADMIN_TOKEN_ID.to_owned(),
        token_id: ADMIN_TOKEN_ID.to_owned(),
        role: Role::Admin,
        address: String::new(),
        login: None,
        is_assistant: false,
    }
}

fn holder(id: &str, record: &TokenRecord) -> Caller {
    let who = format!("{} ({id})", record.name);
    Caller { who, token_id: id.to_owned(), role: record.role, address: String::new(), login: None, is_assistant: false }
}

/// The cookie of a login among all that a browser sends.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

async fn by_cookie(api: &Api, cookie: &str) -> Answer<Option<Caller>> {
    let Some(key) = login_key(cookie) else { return Ok(None) };
    let login = model::load::<Login>(api.store(), LOGIN, &key).await?.map(|kept| kept.value);
    let Some(login) = login.filter(|login| api.clock().now_ms() < login.expires_ms) else { return Ok(None) };
    let login = Login { key, ..login };
    holder_of_login(api, login).await
}

async fn holder_of_login(api: &Api, login: Login) -> Answer<Option<Caller>> {
    let caller = if login.token_id == ADMIN_TOKEN_ID {
        api.admin_token().is_some_and(|admin| admin.is(&login.token_digest)).then(first_admin)
    } else {
        let kept = model::load::<TokenRecord>(api.store(), TOKEN, &login.token_id).await?.map(|kept| kept.value);
        let kept = kept.filter(|record| record.digest == login.token_digest && good(api, record));
        kept.map(|record| holder(&login.token_id, &record))
    };
    Ok(caller.map(|caller| Caller { login: Some(login), ..caller }))
}

/// Whether a caller whose request is still being answered may go on: the token, and the login where it was by cookie, are good.
pub(crate) async fn still_good(api: &Api, caller: &Caller) -> Answer<bool> {
    if let Some(Login { key, .. }) = &caller.login {
        let login = model::load::<Login>(api.store(), LOGIN, key).await?.map(|kept| kept.value);
        let Some(login) = login.filter(|login| api.clock().now_ms() < login.expires_ms) else { return Ok(false) };
        return Ok(holder_of_login(api, login).await?.is_some());
    }
    if caller.token_id == ADMIN_TOKEN_ID {
        return Ok(true);
    }
    let kept = model::load::<TokenRecord>(api.store(), TOKEN, &caller.token_id).await?;
    Ok(kept.is_some_and(|kept| good(api, &kept.value)))
}

/// A browser sends a cookie with whatever another page makes it send; `SameSite` stops most of that, and this the rest.
fn hold_cookie_rules(api: &Api, parts: &Parts, caller: &Caller) -> Answer<()> {
    let refused = |detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, "csrf", detail));
    if !gate::same_origin(&parts.headers, api.public_url()) {
        return refused("a login is good for pages of this server only; scripts and other pages send a token");
    }
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&parts.method);
    let given = text_header(&parts.headers, &CSRF_HEADER)?.unwrap_or_default();
    let csrf = caller.login.as_ref().map(|login| login.csrf.as_str()).unwrap_or_default();
    if !safe && !Digest::of(&given).same(&Digest::of(csrf)) {
        return refused("send the csrf of the login as X-CSRF-Token with every request that changes something");
    }
    Ok(())
}
