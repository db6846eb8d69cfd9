//! `/api/v1/streams/{id}/key`: what an encoder has to be given, and making what was given before worth nothing.
use axum::extract::State;
use axum::response::Response;
use millstream_proto::id::Id;
use millstream_proto::sign::{Action, Claim, MasterKey, legacy, parse_expiry, v2};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::Operator;
use crate::http::extract::{IfMatch, InPath, InQuery, MaybeJson};
use crate::http::fresh::fresh;
use crate::http::once::WithoutSecrets;
use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::settings::midnight_s;
use crate::model::stream::Grace;
use crate::streams::{Condition, Found};
use crate::{Api, Here};

/// Longest grace, seconds: a year.
const GRACE_S_MAX: u64 = 366 * 86_400;
/// Grace where the caller does not say, seconds: a day.
const GRACE_S_DEFAULT: u64 = 86_400;

/// A stream's key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Key {
    /// The generation of the secret that signs.
    generation: u64,
    /// Generations before it that still admit.
    previous: Vec<Grace>,
    /// Until when the signatures below admit, Unix seconds; null where nothing checks one.
    expires_unix_s: Option<u64>,
    /// The value of `sign=` for pushing; null where nothing checks one.
    sign: Option<String>,
    /// The same in the form of the original system, `<seconds>-<md5>`, for encoders that know no other.
    legacy_sign: Option<String>,
    /// The whole push address: for OBS, what is up to and with `/stream` is the server, what follows is the stream key. Null where no node has
    /// been heard that says where it is reached.
    push_url: Option<String>,
    /// The push address of each node: any of them may be pushed to. `push_url` is the first one: the one of control's configuration, or of the node
    /// that has been here longest.
    push_urls: Vec<PushUrl>,
}

/// Where a node is pushed to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct PushUrl {
    /// The node; empty: the fleet as a whole, as control's configuration says that it is reached.
    node: String,
    /// The whole push address.
    push_url: String,
}

/// What the key is to be.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Until when the signature is to admit: a day (UTC midnight at its start) or Unix seconds [default: the stream's outdate].
    #[param(example = "2030-12-31", max_length = 16)]
    expires: Option<String>,
}

/// A rotation.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// For how long what was signed before still admits, seconds; 0: nothing that was ever signed before admits any more.
    #[schema(minimum = 0, maximum = 31_622_400, default = 86_400)]
    grace_s: Option<u64>,
}

/// The value of `sign=` that the original's records show as `key`: for the stream's outdate, in the form of the original.
pub(crate) fn legacy_key(api: &Api, master: &MasterKey, found: &Found) -> Option<String> {
    let (app, id) = (api.push_app()?, Id::new(&found.id).ok()?);
    let secret = master.stream_secret(&id, found.record.generation);
    let expiry_s = found.record.settings.expiry_s()?;
    Some(legacy::sign(app, &id, expiry_s, &secret).expose().to_owned())
}

fn expiry(wanted: &Wanted, found: &Found, now_s: u64) -> Answer<u64> {
    match &wanted.expires {
        Some(text) => parse_expiry(text).or_else(|| midnight_s(text)).ok_or_else(|| {
            let message = "give a day such as 2030-12-31, or Unix seconds of at most 12 digits";
            Problem::fields(vec![FieldError::new("expires", message)])
        }),
        // Streams of the configuration file have none.
        None => Ok(found.record.settings.expiry_s().unwrap_or(now_s + crate::streams::OUTDATE_DAYS * 86_400)),
    }
}

/// Show a stream's key
///
/// Makes a signature for an expiry. Nothing is stored: the same request gives the same signature until the key is rotated.
#[utoipa::path(get, path = "/api/v1/streams/{id}/key", tag = "streams", params(
    ("id" = String, Path, description = "The stream's id"), Wanted,
), responses(
    (status = 200, description = "The key", body = Key),
    (status = 404, description = "There is no such stream", body = Problem),
))]
pub async fn show(
    State(api): State<Api>,
    Operator(_): Operator,
    InPath(id): InPath<String>,
    InQuery(wanted): InQuery<Wanted>,
) -> Answer<Response> {
    let found = api.stream(&id).await?;
    let now_s = api.clock().now_s();
    let expiry_s = expiry(&wanted, &found, now_s)?;
    Ok(fresh(&key_of(&api, &found, expiry_s, now_s)))
}

impl Key {
    /// The same without what admits: the answer that is kept for an idempotency key.
    fn without_secrets(&self) -> Self {
        Self { sign: None, legacy_sign: None, push_url: None, push_urls: Vec::new(), ..self.clone() }
    }
}

fn key_of(api: &Api, found: &Found, expiry_s: u64, now_s: u64) -> Key {
    let generation = found.record.generation;
    let names = api.push_app().zip(Id::new(&found.id).ok());
    let mut key = Key {
        generation,
        previous: found.record.in_grace(now_s),
        expires_unix_s: None,
        sign: None,
        legacy_sign: None,
        push_url: None,
        push_urls: Vec::new(),
    };
    if let (Some(master), Some((app, stream))) = (api.master(), names) {
        let secret = master.stream_secret(&stream, generation);
        let claim = Claim { action: Action::Publish, app, id: &stream };
        let sign = v2::sign(claim, expiry_s, &secret).expose().to_owned();
        key.legacy_sign = Some(legacy::sign(app, &stream, expiry_s, &secret).expose().to_owned());
        (key.sign, key.expires_unix_s) = (Some(sign), Some(expiry_s));
    }
    let app = api.push_app().map_or("", Id::as_str);
    let query = key.sign.as_ref().map(|sign| format!("?sign={sign}")).unwrap_or_default();
    let of = |place: Here| {
        let server = place.push_server(&found.record.settings);
        let push_url = (!server.is_empty()).then(|| format!("{server}/{app}/{}{query}", found.id))?;
        Some(PushUrl { push_url, node: place.node })
    };
    key.push_urls = api.places().into_iter().filter_map(of).collect();
    key.push_url = key.push_urls.first().map(|first| first.push_url.clone());
    key
}

/// Rotate a stream's key
///
/// What was signed before admits for the grace and no longer; who is on air stays. The answer has the new key with its push addresses; that
/// to a repetition with the same Idempotency-Key has the generation and no secret. Without a body the grace is a day. `If-Match` may say which version is meant.
#[utoipa::path(post, path = "/api/v1/streams/{id}/key", tag = "streams", request_body = Option<Rotation>, params(
    ("id" = String, Path, description = "The stream's id"),
    ("If-Match" = Option<String>, Header, description = "The ETag that reading it gave"),
    ("Idempotency-Key" = Option<String>, Header, description = "A name for this request, so that it takes effect once", max_length = 128, min_length = 1),
), responses(
    (status = 200, description = "Rotated; the new key, good until the stream's outdate", body = Key),
    (status = 404, description = "There is no such stream", body = Problem),
    (status = 409, description = "It is in the configuration file, or too many earlier keys are in their grace", body = Problem),
    (status = 412, description = "It has been changed since", body = Problem),
    (status = 422, description = "The Idempotency-Key was sent with another request", body = Problem),
))]
pub async fn rotate(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath(id): InPath<String>,
    condition: IfMatch,
    MaybeJson(rotation): MaybeJson<Rotation>,
) -> Answer<Response> {
    let grace_s = rotation.grace_s.unwrap_or(GRACE_S_DEFAULT);
    if grace_s > GRACE_S_MAX {
        return Err(Problem::fields(vec![FieldError::new("grace_s", format!("give 0 to {GRACE_S_MAX} seconds"))]));
    }
    let found = api.rotate_key(&caller, &id, Condition::May(&condition), grace_s).await?;
    let now_s = api.clock().now_s();
    let expiry_s = expiry(&Wanted::default(), &found, now_s)?;
    let key = key_of(&api, &found, expiry_s, now_s);
    let mut response = fresh(&key);
    let kept = serde_json::to_vec(&key.without_secrets()).unwrap_or_default();
    response.extensions_mut().insert(WithoutSecrets(kept.into()));
    Ok(response)
}
