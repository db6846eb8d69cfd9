//! `/api/v1/webhooks`: where events go, and what came of it.
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millstream_control_protocol::event::What;
use millstream_fleet::http::client::may_go;
use millstream_fleet::http::url::Url;
use millstream_fleet::webhook::deliver::try_once;
use millstream_fleet::webhook::outbox::Entry;
use millstream_proto::sign::MasterKey;
use millstream_store::item::{Expect, Query};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::newest::newest;
use crate::Api;
use crate::auth::Admin;
use crate::http::extract::{IfMatch, InPath, InQuery, Json, Tag};
use crate::http::fresh::fresh;
use crate::http::page::{Filled, Page, Paging};
use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::webhook::{Delivery, WebhookRecord};
use crate::model::{self, DELIVERY, Kept, WEBHOOK};
use crate::outbox::{self, HOOKS_MAX};
use crate::streams::valid_id;

/// A webhook.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Webhook {
    /// Its id.
    id: String,
    /// Where events go, by POST.
    url: String,
    /// Kinds of events; none: all.
    events: Vec<String>,
    /// Of this stream only; null: of all.
    stream: Option<String>,
    /// Events are sent.
    enabled: bool,
    /// When it was made, Unix milliseconds.
    created_unix_ms: u64,
    /// When it was last changed, Unix milliseconds.
    updated_unix_ms: u64,
}

/// A webhook to make, or what to change of one: what is not given stays (or is the default).
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookFields {
    /// Where events go: `https://` or `http://`. Needed to make one.
    #[schema(max_length = 2048, example = "https://example.com/millstream")]
    url: Option<String>,
    /// Kinds of events; none: all.
    #[schema(schema_with = kinds_schema)]
    events: Option<Vec<String>>,
    /// Of this stream only; empty: of all.
    #[schema(max_length = 64)]
    stream: Option<String>,
    /// Events are sent.
    enabled: Option<bool>,
}

/// What a webhook's deliveries are signed with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct WebhookSecret {
    /// HMAC-SHA256 over `<t>.<body>` with this text as the key is the `v1` of the header `Millstream-Signature: t=<t>,v1=<hex>`.
    secret: String,
}

/// The kinds of events with what each says, as the document has them.
fn kinds_schema() -> utoipa::openapi::Array {
    let kinds = What::KINDS.map(|(kind, _)| kind);
    let said = What::KINDS.map(|(kind, says)| format!("`{kind}`: {says}")).join("; ");
    let item = utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::Type::String)
        .enum_values(Some(kinds))
        .description(Some(said.clone()));
    utoipa::openapi::ArrayBuilder::new()
        .items(item)
        .max_items(Some(16))
        .description(Some(format!("Kinds of events; none: all. {said}")))
        .build()
}

fn shown(id: &str, record: WebhookRecord) -> Webhook {
    Webhook {
        id: id.to_owned(),
        url: record.url,
        events: record.events,
        stream: record.stream,
        enabled: record.enabled,
        created_unix_ms: record.created_ms,
        updated_unix_ms: record.updated_ms,
    }
}

fn tagged(id: &str, kept: Kept<WebhookRecord>, status: StatusCode) -> Response {
    let tag = Tag { created_ms: kept.value.created_ms, version: kept.version };
    let mut response = (status, fresh(&shown(id, kept.value))).into_response();
    if let Ok(value) = HeaderValue::try_from(tag.text()) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// Sets what is given; says all that is wrong with it.
async fn set(api: &Api, record: &mut WebhookRecord, given: WebhookFields) -> Answer<()> {
    let mut errors = Vec::new();
    if let Some(url) = given.url {
        match url.parse::<Url>() {
            // Said here and not only in the log of deliveries, where nobody looks who has just made it.
            Ok(parsed) => match may_go(&parsed, api.webhooks()).await {
                Ok(()) => record.url = url,
                Err(error) => {
                    let advice = "name it in webhooks.allow of the configuration where it is meant";
                    errors.push(FieldError::new("url", format!("{error}: {advice}")));
                }
            },
            Err(error) => errors.push(FieldError::new("url", error.to_string())),
        }
    } else if record.url.is_empty() {
        errors.push(FieldError::new("url", "missing; say where events are to go"));
    }
    if let Some(events) = given.events {
        let kinds = What::KINDS.map(|(kind, _)| kind);
        if events.iter().all(|event| kinds.contains(&event.as_str())) && events.len() <= kinds.len() {
            record.events = events;
        } else {
            errors.push(FieldError::new("events", format!("give some of {}, each once", kinds.join(", "))));
        }
    }
    if let Some(stream) = given.stream {
        if stream.is_empty() {
            record.stream = None;
        } else if valid_id(&stream).is_ok() {
            record.stream = Some(stream);
        } else {
            errors.push(FieldError::new("stream", "this is no stream's id; give one, or empty text for all streams"));
        }
    }
    record.enabled = given.enabled.unwrap_or(record.enabled);
    if errors.is_empty() { Ok(()) } else { Err(Problem::fields(errors)) }
}

async fn find(api: &Api, id: &str) -> Answer<Kept<WebhookRecord>> {
    let unknown = || Problem::not_found("there is no webhook of this id; see /api/v1/webhooks");
    valid_id(id).map_err(|_| unknown())?;
    model::load(api.store(), WEBHOOK, id).await?.ok_or_else(unknown)
}

/// List webhooks
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "webhooks", params(Paging), responses(
    (status = 200, description = "Some webhooks", body = Page<Webhook>),
))]
pub async fn list(State(api): State<Api>, Admin(_): Admin, InQuery(paging): InQuery<Paging>) -> Answer<Response> {
    let query = Query { after: paging.after()?, limit: paging.limit()?, ..Query::all(WEBHOOK) };
    let (page, _turn) = api.page(query).await?;
    let items = api.unreadable().read_all::<WebhookRecord>(WEBHOOK, &page.items);
    Ok(fresh(&Filled::fill(items.map(|(key, kept)| (key.to_owned(), shown(key, kept.value))), page.next.as_deref())))
}

/// Make a webhook
///
/// Events go there from then on, signed, in order per stream, and again until they were taken or a day old. Addresses that are not
/// public are refused, here and when they are connected to, unless `webhooks.allow` of the configuration names their network.
#[utoipa::path(post, path = "/api/v1/webhooks", tag = "webhooks", request_body = WebhookFields, params(
    ("Idempotency-Key" = Option<String>, Header, description = "A name for this request, so that it takes effect once", max_length = 128, min_length = 1),
), responses(
    (status = 201, description = "Made", body = Webhook),
    (status = 409, description = "There are as many as there may be, or nothing to make its secret from", body = Problem),
    (status = 422, description = "The Idempotency-Key was sent with another request", body = Problem),
))]
pub async fn create(State(api): State<Api>, Admin(caller): Admin, Json(new): Json<WebhookFields>) -> Answer<Response> {
    master(&api)?;
    let now_ms = api.clock().now_ms();
    let mut record = WebhookRecord { created_ms: now_ms, updated_ms: now_ms, ..WebhookRecord::default() };
    set(&api, &mut record, new).await?;
    let _making = api.makes().await;
    if api.store().count(WEBHOOK).await? >= HOOKS_MAX as u64 {
        return Err(Problem::conflict(format!("there are {HOOKS_MAX} webhooks, which is the most; remove some")));
    }
    let id = api.uuid()?;
    let put = model::to_put((WEBHOOK, &id), Expect::Absent, None, &record);
    let saved = api.logged(&caller, ("webhook.create", &id), Vec::new(), vec![put]).await?;
    let version = saved.map_err(|model::Conflict| Problem::conflict("the random id is taken; try again"))?;
    let mut response = tagged(&id, Kept { version, value: record }, StatusCode::CREATED);
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/webhooks/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Read a webhook
#[utoipa::path(get, path = "/api/v1/webhooks/{id}", tag = "webhooks", params(
    ("id" = String, Path, description = "The webhook's id"),
), responses(
    (status = 200, description = "The webhook; its ETag is for If-Match", body = Webhook),
    (status = 404, description = "There is no such webhook", body = Problem),
))]
pub async fn read(State(api): State<Api>, Admin(_): Admin, InPath(id): InPath<String>) -> Answer<Response> {
    Ok(tagged(&id, find(&api, &id).await?, StatusCode::OK))
}

/// Change a webhook
#[utoipa::path(patch, path = "/api/v1/webhooks/{id}", tag = "webhooks", request_body = WebhookFields, params(
    ("id" = String, Path, description = "The webhook's id"),
    ("If-Match" = Option<String>, Header, description = "The ETag that reading it gave, or *"),
), responses(
    (status = 200, description = "As it is now", body = Webhook),
    (status = 404, description = "There is no such webhook", body = Problem),
    (status = 412, description = "It has been changed since", body = Problem),
    (status = 428, description = "There is no If-Match", body = Problem),
))]
pub async fn update(
    State(api): State<Api>,
    Admin(caller): Admin,
    InPath(id): InPath<String>,
    condition: IfMatch,
    Json(given): Json<WebhookFields>,
) -> Answer<Response> {
    let Kept { version, value: mut record } = find(&api, &id).await?;
    condition.must_hold(Tag { created_ms: record.created_ms, version })?;
    set(&api, &mut record, given).await?;
    record.updated_ms = api.clock().now_ms();
    let put = model::to_put((WEBHOOK, &id), Expect::Version(version), None, &record);
    let saved = api.logged(&caller, ("webhook.update", &id), Vec::new(), vec![put]).await?;
    let version = saved.map_err(|model::Conflict| IfMatch::failed())?;
    Ok(tagged(&id, Kept { version, value: record }, StatusCode::OK))
}

/// Remove a webhook
///
/// What waits for it is not sent any more.
#[utoipa::path(delete, path = "/api/v1/webhooks/{id}", tag = "webhooks", params(
    ("id" = String, Path, description = "The webhook's id"),
    ("If-Match" = Option<String>, Header, description = "The ETag that reading it gave, or *"),
), responses(
    (status = 204, description = "Removed"),
    (status = 404, description = "There is no such webhook", body = Problem),
    (status = 412, description = "It has been changed since", body = Problem),
    (status = 428, description = "There is no If-Match", body = Problem),
))]
pub async fn remove(
    State(api): State<Api>,
    Admin(caller): Admin,
    InPath(id): InPath<String>,
    condition: IfMatch,
) -> Answer<StatusCode> {
    let Kept { version, value: record } = find(&api, &id).await?;
    condition.must_hold(Tag { created_ms: record.created_ms, version })?;
    let delete = model::to_delete((WEBHOOK, &id), Expect::Version(version));
    let deleted = api.logged(&caller, ("webhook.delete", &id), Vec::new(), vec![delete]).await?;
    deleted.map_err(|model::Conflict| IfMatch::failed())?;
    Ok(StatusCode::NO_CONTENT)
}

fn master(api: &Api) -> Answer<&MasterKey> {
    api.master().ok_or_else(|| {
        Problem::conflict(
            "auth is \"open\", so there is no master key to make a webhook's secret from; use auth \"signed\"",
        )
    })
}

/// Show what a webhook's deliveries are signed with
#[utoipa::path(get, path = "/api/v1/webhooks/{id}/secret", tag = "webhooks", params(
    ("id" = String, Path, description = "The webhook's id"),
), responses(
    (status = 200, description = "The secret", body = WebhookSecret),
    (status = 404, description = "There is no such webhook", body = Problem),
    (status = 409, description = "There is nothing to make it from", body = Problem),
))]
pub async fn show_secret(State(api): State<Api>, Admin(_): Admin, InPath(id): InPath<String>) -> Answer<Response> {
    find(&api, &id).await?;
    let secret = outbox::secret(master(&api)?, &id).expose().to_owned();
    Ok(fresh(&WebhookSecret { secret }))
}

/// Try a webhook
///
/// Sends it an event of the kind `test` now, once, signed as all are, and says what came of that. It is in the list of deliveries, too.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/test", tag = "webhooks", params(
    ("id" = String, Path, description = "The webhook's id"),
), responses(
    (status = 200, description = "What came of it: `delivered` or `failed`", body = Delivery),
    (status = 404, description = "There is no such webhook", body = Problem),
    (status = 409, description = "There is nothing to sign it with", body = Problem),
))]
pub async fn test(State(api): State<Api>, Admin(caller): Admin, InPath(id): InPath<String>) -> Answer<Response> {
    let Kept { value: record, .. } = find(&api, &id).await?;
    let now_ms = api.clock().now_ms();
    let key = format!("{id}/{TEST}/{now_ms:013}");
    let event = serde_json::json!({
        "id": key, "node": "", "seq": 0, "at_unix_ms": now_ms, "stream": record.stream.unwrap_or_default(), "what": { "kind": TEST },
    });
    let entry = Entry {
        lane: key.clone(),
        key,
        hook: id.clone(),
        url: record.url,
        secret: outbox::secret(master(&api)?, &id),
        kind: TEST.to_owned(),
        body: event.to_string().into_bytes(),
        attempts: 0,
        added_unix_ms: now_ms,
    };
    let _ = api.record(&caller, "webhook.test", &id).await?;
    let attempt = try_once(&entry, api.webhooks(), TEST_WAIT).await;
    let delivery = outbox::tried(&entry, &attempt);
    if let Err(error) = api.store().put(outbox::log_of_test(&id, &delivery)).await {
        tracing::warn!(%error, "a webhook's test cannot be kept in its list");
    }
    Ok(fresh(&delivery))
}

/// The kind of the event that a webhook is tried with.
const TEST: &str = "test";
/// A receiver has so long to answer it: less than a request may take.
const TEST_WAIT: Duration = Duration::from_secs(10);

/// List what came of a webhook's deliveries
///
/// Every try, the newest first, kept for a week.
#[utoipa::path(get, path = "/api/v1/webhooks/{id}/deliveries", tag = "webhooks", params(
    ("id" = String, Path, description = "The webhook's id"), Paging,
), responses(
    (status = 200, description = "Some tries", body = Page<Delivery>),
    (status = 404, description = "There is no such webhook", body = Problem),
))]
pub async fn deliveries(
    State(api): State<Api>,
    Admin(_): Admin,
    InPath(id): InPath<String>,
    InQuery(paging): InQuery<Paging>,
) -> Answer<Response> {
    find(&api, &id).await?;
    newest::<Delivery>(&api, DELIVERY, format!("{id}/"), &paging).await
}
