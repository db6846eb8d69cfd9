//! What a back end is sent and how its answer is read: as nginx-rtmp does it, and as SRS does it.
use axum::http::StatusCode;
use bytes::Bytes;
use millstream_fleet::http::client::Reply;
use millstream_policy::{Action, Request};
use millstream_proto::query::{Params, percent_encode};
use serde_json::{Value, json};

/// Whose callbacks the back end was written for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// nginx-rtmp: a form is posted; the status is the verdict.
    NginxRtmp,
    /// SRS: JSON is posted; the status is 200, and the body has the verdict, `0` or `{"code": 0}`.
    Srs,
}

/// What an answer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Allow,
    /// Why, without anything that the back end wrote: it may hold what is not for the peer.
    Deny(String),
    /// It is no verdict.
    None(String),
}

/// The parameters that are the client's own, without those about one request.
pub(super) fn args(request: &Request) -> Params {
    let mut params = request.params.clone();
    params.retain(|name| !name.starts_with("_HLS_") && name != "CMCD");
    params
}

/// Fields that the server says. A client's parameter of such a name is left out: a back end would read it in the place of the server's.
const NGINX_FIELDS: [&str; 10] =
    ["app", "flashver", "swfurl", "tcurl", "pageurl", "addr", "clientid", "call", "name", "type"];

impl Form {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::NginxRtmp => "application/x-www-form-urlencoded",
            Self::Srs => "application/json",
        }
    }

    pub(super) fn body(self, request: &Request) -> Bytes {
        match self {
            Self::NginxRtmp => nginx_rtmp(request).into(),
            Self::Srs => srs(request).to_string().into(),
        }
    }

    pub(super) fn read(self, reply: &Reply) -> Verdict {
        let status = reply.status;
        if status.is_redirection() {
            return Verdict::Deny("the server that decides answered with a redirect, which is not followed".to_owned());
        }
        let refused = || Verdict::Deny("the server that decides has refused this".to_owned());
        match self {
            Self::NginxRtmp if status.is_success() => Verdict::Allow,
            _ if status.is_client_error() || (self == Self::NginxRtmp && status.is_server_error()) => refused(),
            Self::Srs if status == StatusCode::OK => match reply.body.as_deref().map(code) {
                None => Verdict::None("its answer is too long".to_owned()),
                Some(Some(0)) => Verdict::Allow,
                Some(Some(_)) => refused(),
                Some(None) => Verdict::None("its answer is neither a number nor {\"code\": NUMBER}".to_owned()),
            },
            _ => Verdict::None(format!("it answered with status {}", status.as_u16())),
        }
    }
}

/// The number of SRS's answers: 0 allows.
fn code(body: &[u8]) -> Option<i64> {
    let value: Value = serde_json::from_slice(body.trim_ascii()).ok()?;
    value.as_i64().or_else(|| value.get("code")?.as_i64())
}

/// As ngx_rtmp_notify_module writes it, with the client's parameters behind.
fn nginx_rtmp(request: &Request) -> String {
    let client = &request.client;
    let address = client.address.ip().to_canonical().to_string();
    let session = client.session.to_string();
    let fields = [
        ("app", request.app.as_str()),
        ("flashver", &client.user_agent),
        ("swfurl", ""),
        ("tcurl", client.tc_url.expose()),
        ("pageurl", &client.referer),
        ("addr", &address),
        ("clientid", &session),
        ("call", request.action.as_str()),
        ("name", request.name.as_str()),
        ("type", if request.action == Action::Publish { "live" } else { "" }),
    ];
    let mut body = String::new();
    for (name, value) in fields.into_iter().filter(|(name, value)| *name != "type" || !value.is_empty()) {
        if !body.is_empty() {
            body.push('&');
        }
        body.push_str(name);
        body.push('=');
        percent_encode(value, &mut body);
    }
    let mut args = args(request);
    args.retain(|name| !NGINX_FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name)));
    if !args.is_empty() {
        body.push('&');
        body.push_str(args.to_query().expose());
    }
    body
}

/// As SRS's SrsHttpHooks writes it.
fn srs(request: &Request) -> Value {
    let client = &request.client;
    let args = args(request);
    let query = args.to_query();
    let param = if query.is_empty() { String::new() } else { format!("?{}", query.expose()) };
    let vhost = args.get("vhost").filter(|vhost| !vhost.is_empty()).unwrap_or("__defaultVhost__");
    let (app, name) = (request.app.as_str(), request.name.as_str());
    let action = if request.action == Action::Publish { "on_publish" } else { "on_play" };
    let mut body = json!({
        "action": action,
        "client_id": client.session.to_string(),
        "ip": client.address.ip().to_canonical().to_string(),
        "vhost": vhost,
        "app": app,
        "tcUrl": client.tc_url.expose(),
        "stream": name,
        "param": param,
        "stream_url": format!("/{app}/{name}"),
    });
    if request.action == Action::Play {
        body["pageUrl"] = client.referer.as_str().into();
    }
    body
}
