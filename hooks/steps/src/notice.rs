//! What happened, as event hooks are told it. Before it: the engine's events, and its viewers that come and go; after it: [`super::hearing`].
use std::net::{IpAddr, SocketAddr};

use millstream_control_protocol::event::{Event, What};
use millstream_hooks::wit::{events, types};
use millstream_policy::records::Labels;
use millstream_proto::id::Id;
use serde_json::Value;

/// Pairs of a notice's detail.
const DETAIL_MAX: usize = 32;
/// Bytes of a value: what is longer is cut.
const VALUE_BYTES_MAX: usize = 1_024;
/// Viewers are numbered apart from events.
const OF_VIEWERS: u64 = 1 << 63;

const PLAY_START: &str = "play-start";
const PLAY_STOP: &str = "play-stop";

/// An event for hooks, and the address that it came from, where somebody's session is part of it. `app`: the application that streams are below.
/// `None`: it is about no stream, or of a kind that this version does not know.
pub fn notice(event: &Event, app: &str) -> Option<(events::Notice, Option<IpAddr>)> {
    if event.stream.is_empty() || matches!(event.what, What::Unknown) {
        return None;
    }
    let address: Option<SocketAddr> = event.peer.parse().ok();
    let labels = event.labels.iter().map(|(name, value)| pair(name, value));
    let told = events::Notice {
        kind: kind(&event.what),
        id: event.seq,
        unix_ms: event.at_unix_ms,
        target: types::Target {
            app: app.to_owned(),
            name: event.stream.clone(),
            params: Vec::new(),
            settings: Vec::new(),
            labels: labels.collect(),
            extra: Vec::new(),
        },
        client: address.map(|address| client(event, address)),
        detail: detail(&event.what),
    };
    Some((told, address.map(|address| address.ip())))
}

/// A viewer that has come or is gone.
#[derive(Clone, Debug)]
pub struct Viewing<'a> {
    /// No other one of the process has this number.
    pub number: u64,
    /// When, Unix milliseconds.
    pub unix_ms: u64,
    /// The stream.
    pub stream: &'a Id,
    /// The session, as hooks that decide are told it: [`crate::question`].
    pub session: String,
    /// Where it is.
    pub peer: SocketAddr,
    /// What it plays by.
    pub protocol: &'a str,
    /// Its connection is encrypted.
    pub secure: bool,
    /// What a policy calls it.
    pub labels: Option<&'a Labels>,
    /// It is gone: why, and how long it played, milliseconds. `None`: it has come.
    pub ended: Option<(&'a str, u64)>,
}

/// The same for a viewer, of which no other event tells.
pub fn of_viewer(viewing: &Viewing<'_>, app: &str) -> events::Notice {
    let Viewing { number, unix_ms, stream, ref session, peer, protocol, secure, labels, ended } = *viewing;
    let labels = labels.into_iter().flat_map(|labels| labels.iter()).map(|(name, value)| pair(name, value));
    let detail = ended.map(|(why, lasted_ms)| vec![pair("why", why), pair("lasted_ms", &lasted_ms.to_string())]);
    events::Notice {
        kind: if ended.is_some() { PLAY_STOP } else { PLAY_START }.to_owned(),
        id: OF_VIEWERS | number,
        unix_ms,
        target: types::Target {
            app: app.to_owned(),
            name: stream.as_str().to_owned(),
            params: Vec::new(),
            settings: Vec::new(),
            labels: labels.collect(),
            extra: Vec::new(),
        },
        client: Some(types::Client {
            session: session.clone(),
            ip: peer.ip().to_canonical().to_string(),
            port: peer.port(),
            protocol: protocol.to_owned(),
            secure,
            user_agent: String::new(),
            referer: String::new(),
            token: String::new(),
            extra: Vec::new(),
        }),
        detail: detail.unwrap_or_default(),
    }
}

/// Whether it is about a viewer: of those there are many, and each says little.
pub(crate) fn is_of_viewer(notice: &events::Notice) -> bool {
    notice.kind == PLAY_START || notice.kind == PLAY_STOP
}

/// The API's word with `-` for `_`; a publication begins with `publish-start` and ends with `publish-stop`, as the contract has it.
fn kind(what: &What) -> String {
    match what {
        What::Publish { .. } => "publish-start".to_owned(),
        What::Unpublish { .. } => "publish-stop".to_owned(),
        other => other.kind().replace('_', "-"),
    }
}

fn client(event: &Event, address: SocketAddr) -> types::Client {
    let encoder = match &event.what {
        What::Publish { encoder, .. } => encoder.as_str(),
        _ => "",
    };
    types::Client {
        session: event.session.to_string(),
        ip: address.ip().to_canonical().to_string(),
        port: address.port(),
        protocol: event.protocol.clone(),
        secure: event.protocol.ends_with('s') && event.protocol.starts_with("rtmp"),
        user_agent: cut(encoder).to_owned(),
        referer: String::new(),
        token: String::new(),
        extra: Vec::new(),
    }
}

/// The fields of the event's kind, as the API names them; those that are no text are JSON.
fn detail(what: &What) -> Vec<types::Pair> {
    let Ok(Value::Object(fields)) = serde_json::to_value(what) else { return Vec::new() };
    let fields = fields.into_iter().filter(|(name, _)| name != "kind").take(DETAIL_MAX);
    let shown = fields.map(|(name, value)| match value {
        Value::String(text) => pair(&name, &text),
        other => pair(&name, &other.to_string()),
    });
    shown.collect()
}

fn pair(name: &str, value: &str) -> types::Pair {
    types::Pair { name: cut(name).to_owned(), value: cut(value).to_owned() }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(VALUE_BYTES_MAX)).unwrap_or_default()
}

/// Bytes that a notice takes, about.
pub(crate) fn bytes(notice: &events::Notice) -> usize {
    let of =
        |pairs: &[types::Pair]| -> usize { pairs.iter().map(|pair| 64 + pair.name.len() + pair.value.len()).sum() };
    let client = notice.client.as_ref().map_or(0, |client| 256 + client.user_agent.len());
    512 + of(&notice.detail) + of(&notice.target.labels) + client
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use millstream_control_protocol::event::MotionRegion;

    use super::*;

    #[test]
    fn an_event_is_told_in_the_words_of_the_contract() {
        let publish = Event {
            seq: 7,
            at_unix_ms: 5,
            stream: "cam".to_owned(),
            session: 12,
            peer: "[::ffff:192.0.2.7]:9".to_owned(),
            protocol: "rtmps".to_owned(),
            labels: BTreeMap::from([("plan".to_owned(), "gold".to_owned())]),
            what: What::Publish { encoder: "OBS".to_owned(), replaced_heard_ago_ms: None },
        };
        let (told, from) = notice(&publish, "live").unwrap();
        let client = told.client.as_ref().unwrap();
        assert_eq!((told.kind.as_str(), told.id, told.unix_ms), ("publish-start", 7, 5));
        assert_eq!((told.target.app.as_str(), told.target.name.as_str()), ("live", "cam"));
        assert_eq!((client.session.as_str(), client.ip.as_str(), client.secure), ("12", "192.0.2.7", true));
        assert_eq!((client.user_agent.as_str(), told.target.labels[0].value.as_str()), ("OBS", "gold"));
        assert!(from.is_some() && bytes(&told) < 2_000);
        let motion = What::Motion {
            active: true,
            from_unix_ms: 3,
            lasted_ms: 0,
            score: 0.5,
            regions: vec![MotionRegion::default()],
            picture: String::new(),
            label: String::new(),
            why: String::new(),
        };
        let (told, from) =
            notice(&Event { stream: "cam".to_owned(), what: motion, ..Event::default() }, "live").unwrap();
        let of = |name: &str| told.detail.iter().find(|pair| pair.name == name).map(|pair| pair.value.as_str());
        assert_eq!((told.kind.as_str(), of("active"), of("from_unix_ms")), ("motion", Some("true"), Some("3")));
        assert!(of("regions").unwrap().starts_with("[{") && told.client.is_none() && from.is_none());
        assert!(notice(&Event { stream: "cam".to_owned(), ..Event::default() }, "live").is_none());
        assert!(notice(&Event { stream: String::new(), ..publish }, "live").is_none());
    }

    #[test]
    fn a_viewer_is_told_of_as_a_hook_that_let_it_in_knows_it() {
        let stream = Id::new("cam").unwrap();
        let labels: Labels = [("plan".to_owned(), "gold".to_owned())].into_iter().collect();
        let came = Viewing {
            number: 7,
            unix_ms: 5,
            stream: &stream,
            session: "v00000000000000ff".to_owned(),
            peer: "[::ffff:192.0.2.7]:9".parse().unwrap(),
            protocol: "hls",
            secure: true,
            labels: Some(&labels),
            ended: None,
        };
        let told = of_viewer(&came, "live");
        let client = told.client.as_ref().unwrap();
        assert_eq!((told.kind.as_str(), told.id, told.unix_ms), ("play-start", (1 << 63) + 7, 5));
        assert_eq!((told.target.app.as_str(), told.target.name.as_str()), ("live", "cam"));
        assert_eq!((client.session.as_str(), client.ip.as_str(), client.port), ("v00000000000000ff", "192.0.2.7", 9));
        assert_eq!(
            (client.protocol.as_str(), client.secure, told.target.labels[0].value.as_str()),
            ("hls", true, "gold")
        );
        assert!(told.detail.is_empty());
        let gone = of_viewer(&Viewing { ended: Some(("left", 4_000)), ..came }, "live");
        let detail: Vec<_> = gone.detail.iter().map(|pair| (pair.name.as_str(), pair.value.as_str())).collect();
        assert_eq!((gone.kind.as_str(), &detail[..]), ("play-stop", &[("why", "left"), ("lasted_ms", "4000")][..]));
    }
}
