//! What admission is asked about an RTMP request, and RTMP's words for what it says. Before it: the session's requests; after it: [`crate::admission`].
use millstream_policy::{Action, Client, Request, Why};
use millstream_proto::id::Id;
use millstream_proto::rtmp::{self, Refusal};

use super::connection::{PROTOCOL, Rejection};
use crate::close::CloseReason;
use crate::shard::session::Session;
use crate::shard::state::Shard;

/// What admission is asked about an RTMP request; an error names what is wrong with it.
pub(crate) fn question(
    shard: &Shard,
    session: &Session,
    action: Action,
    request: rtmp::Request,
) -> Result<Request, Rejection> {
    let bad_name = |reason| Rejection { why: CloseReason::BadName, refusal: Refusal::BadName, reason, stream: None };
    let client = Client {
        secure: session.is_secure(),
        user_agent: request.flash_ver,
        referer: request.page_url,
        tc_url: request.tc_url,
        ..Client::new(session.number, session.peer(), PROTOCOL)
    };
    let mapped = shard.directory.borrow().pushed(&request.app, &request.name);
    // A stream's own address is its own, whatever another stream's paths say.
    let mapped = mapped.filter(|_| !is_own_address(shard, &request.app, &request.name));
    if let (Some((name, path)), Some(app)) = (mapped, shard.config.apps.first().cloned()) {
        return Ok(Request { path: Some(path), ..Request::new(action, (app, name), request.params, client) });
    }
    if request.app.is_empty() {
        let known = shown_app(shard);
        return Err(bad_name(format!(
            "the stream name is missing, or the application: the URL is rtmp://HOST/{known}/STREAM (OBS: Server rtmp://HOST/{known}, Stream Key STREAM?sign=...)"
        )));
    }
    let app = Id::new(&request.app).map_err(|error| {
        // The whole address in OBS's field for the server.
        if request.app.contains('/') {
            let known = shown_app(shard);
            return bad_name(format!(
                "the server's address holds more than rtmp://HOST/{known}: put STREAM?sign=... into the stream key only (OBS: Server rtmp://HOST/{known}, Stream Key STREAM?sign=...)"
            ));
        }
        bad_name(format!("application: {error}"))
    })?;
    let name = Id::new(&request.name).map_err(|error| bad_name(format!("stream: {error}")))?;
    Ok(Request::new(action, (app, name), request.params, client))
}

/// The application that messages name.
fn shown_app(shard: &Shard) -> &str {
    shard.config.apps.first().map_or("APPLICATION", Id::as_str)
}

/// Whether an address names a stream that has a record, as the API shows it.
fn is_own_address(shard: &Shard, app: &str, name: &str) -> bool {
    let (Ok(app), Ok(name)) = (Id::new(app), Id::new(name)) else { return false };
    shard.config.apps.iter().any(|known| *known == app) && shard.directory.borrow().records().get(&name).is_some()
}

/// The RTMP words for a refusal.
pub(crate) fn refusal(why: Why) -> Refusal {
    match why {
        Why::NotFound => Refusal::NotFound,
        Why::Busy => Refusal::Failed,
        _ => Refusal::Denied,
    }
}

/// What is wrong where a stream is to be pushed over TLS and this connection has none, neither ours nor that of a proxy that says so.
pub(crate) fn needs_tls(shard: &Shard, session: &Session, id: &Id) -> Option<String> {
    if session.is_secure() || !shard.settings_of(id).rtmps {
        return None;
    }
    let place = match shard.rtmps_port {
        Some(port) => format!("push to rtmps:// on port {port}"),
        None => "this server has no RTMPS: give it certificates, or a proxy that has TLS and says so in PROXY headers"
            .to_owned(),
    };
    Some(format!("this stream is pushed over RTMPS only (isRtmps): {place}"))
}
