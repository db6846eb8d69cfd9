//! `/api/v1/tokens`: make, list and remove API tokens.
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millstream_store::item::{Expect, Query};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Api;
use crate::auth::Admin;
use crate::http::extract::{InPath, InQuery, Json};
use crate::http::fresh::fresh;
use crate::http::page::{Filled, Page, Paging};
use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::token::{Digest, Role, TokenRecord, make};
use crate::model::{self, TOKEN};

/// Bytes of a token's name.
const NAME_BYTES_MAX: usize = 128;
/// Tokens that may exist.
const TOKENS_MAX: u64 = 10_000;

/// A token, without what its holder sends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Token {
    /// Its id: a part of it, and no secret.
    id: String,
    /// What it is for.
    name: String,
    /// What it may do.
    role: Role,
    /// When it was made, Unix milliseconds.
    created_unix_ms: u64,
    /// Who made it.
    created_by: String,
    /// Until when it is good, Unix milliseconds; null: until it is removed.
    expires_unix_ms: Option<u64>,
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct MadeToken {
    /// What its holder sends. It is shown this once and not kept.
    token: String,
    /// The rest.
    #[serde(flatten)]
    about: Token,
}

/// A token to make.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// What it may do.
    role: Role,
    /// Until when it is good, Unix milliseconds; left out or null: until it is removed.
    #[serde(default)]
    #[schema(minimum = 0)]
    expires_unix_ms: Option<u64>,
}

fn shown(id: &str, record: TokenRecord) -> Token {
    Token {
        id: id.to_owned(),
        name: record.name,
        role: record.role,
        created_unix_ms: record.created_ms,
        created_by: record.created_by,
        expires_unix_ms: record.expires_ms,
    }
}

/// List tokens
#[utoipa::path(get, path = "/api/v1/tokens", tag = "administration", params(Paging), responses(
    (status = 200, description = "Some tokens", body = Page<Token>),
))]
pub async fn list(State(api): State<Api>, Admin(_): Admin, InQuery(paging): InQuery<Paging>) -> Answer<Response> {
    let query = Query { after: paging.after()?, limit: paging.limit()?, ..Query::all(TOKEN) };
    let (page, _turn) = api.page(query).await?;
    let items = api.unreadable().read_all::<TokenRecord>(TOKEN, &page.items);
    Ok(fresh(&Filled::fill(items.map(|(key, kept)| (key.to_owned(), shown(key, kept.value))), page.next.as_deref())))
}

/// Make a token
///
/// The answer is the only one that shows it.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "administration", request_body = NewToken, responses(
    (status = 201, description = "Made", body = MadeToken),
    (status = 409, description = "There are as many as there may be", body = Problem),
))]
pub async fn create(State(api): State<Api>, Admin(caller): Admin, Json(new): Json<NewToken>) -> Answer<Response> {
    let mut errors = Vec::new();
    let name = new.name.trim();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        errors.push(FieldError::new("name", format!("give 1 to {NAME_BYTES_MAX} bytes without control characters")));
    }
    let now_ms = api.clock().now_ms();
    if new.expires_unix_ms.is_some_and(|at| at <= now_ms) {
        errors.push(FieldError::new("expires_unix_ms", "this is in the past; give a later time"));
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let _making = api.makes().await;
    if api.store().count(TOKEN).await? >= TOKENS_MAX {
        return Err(Problem::conflict(format!("there are {TOKENS_MAX} tokens, which is the most; remove some")));
    }
    let (id, token) = make()?;
    let record = TokenRecord {
        name: name.to_owned(),
        role: new.role,
        digest: Digest::of(token.expose()).text(),
        created_ms: now_ms,
        created_by: caller.who.clone(),
        expires_ms: new.expires_unix_ms,
    };
    let put = model::to_put((TOKEN, &id), Expect::Absent, new.expires_unix_ms, &record);
    let parts = vec![record.role.as_str().to_owned()];
    let saved = api.logged(&caller, ("token.create", &id), parts, vec![put]).await?;
    saved.map_err(|model::Conflict| Problem::conflict("the random id is taken; try again"))?;
    let mut response = fresh(&MadeToken { token: token.expose().to_owned(), about: shown(&id, record) });
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/tokens/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn unknown() -> Problem {
    Problem::not_found("there is no token of this id; see /api/v1/tokens")
}

/// Read what a token is for
#[utoipa::path(get, path = "/api/v1/tokens/{id}", tag = "administration", params(
    ("id" = String, Path, description = "The token's id"),
), responses(
    (status = 200, description = "The token, without what its holder sends", body = Token),
    (status = 404, description = "There is no such token", body = Problem),
))]
pub async fn read(State(api): State<Api>, Admin(_): Admin, InPath(id): InPath<String>) -> Answer<Response> {
    let kept = if is_id(&id) { model::load::<TokenRecord>(api.store(), TOKEN, &id).await? } else { None };
    kept.map(|kept| fresh(&shown(&id, kept.value))).ok_or_else(unknown)
}

/// Remove a token
///
/// It is good for nothing from then on, and the logins that were made with it are over.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "administration", params(
    ("id" = String, Path, description = "The token's id"),
), responses(
    (status = 204, description = "Removed"),
    (status = 404, description = "There is no such token", body = Problem),
))]
pub async fn remove(State(api): State<Api>, Admin(caller): Admin, InPath(id): InPath<String>) -> Answer<Response> {
    let kept = if is_id(&id) { model::load::<TokenRecord>(api.store(), TOKEN, &id).await? } else { None };
    let kept = kept.ok_or_else(unknown)?;
    let delete = model::to_delete((TOKEN, &id), Expect::Version(kept.version));
    let deleted = api.logged(&caller, ("token.delete", &id), vec![kept.value.name], vec![delete]).await?;
    deleted.map_err(|model::Conflict| unknown())?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn is_id(id: &str) -> bool {
    id.len() <= 32 && id.bytes().all(|b| b.is_ascii_hexdigit())
}
