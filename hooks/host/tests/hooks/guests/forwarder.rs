//! The guest that forwards events.
use millstream_hooks::wit::events::{Notice, Order};
use millstream_hooks::{Hook, World};
use serde_json::Value;

use super::built;
use crate::fixture::{pairs, request, target};

fn notice(kind: &str, id: u64, detail: &[(&str, &str)]) -> Notice {
    let client = Some(request("play", &[]).client);
    Notice {
        kind: kind.into(),
        id,
        unix_ms: 1_700_000_000_000 + id,
        target: target(&[]),
        client,
        detail: pairs(detail),
    }
}

fn told(hook: &Hook, notices: &[Notice]) -> Vec<Order> {
    hook.on_notices(notices).result.unwrap()
}

/// What the log has, each notice by itself.
fn lines(hook: &Hook) -> Vec<Value> {
    let lines = hook.settings().logs.since(0);
    let values = lines.iter().flat_map(|line| serde_json::Deserializer::from_str(&line.text).into_iter());
    values.map(|value| value.unwrap()).collect()
}

#[test]
fn forwarder_writes_each_notice_once_as_json() {
    let hook = built("event-forwarder", World::Events, &[("kinds", "publish-start, motion")]);
    let odd = notice("motion", 2, &[("label", "a \"b\" \\ \u{7}\u{e9}"), ("kind", "other")]);
    let notices = [notice("publish-start", 1, &[]), notice("play-start", 3, &[]), odd];
    assert_eq!(told(&hook, &notices), []);
    // A notice may come twice.
    assert_eq!(told(&hook, &notices), []);
    let written = lines(&hook);
    assert_eq!(written.len(), 2, "{written:?}");
    assert_eq!(written[0]["kind"], "publish-start");
    assert_eq!(
        (&written[0]["app"], &written[0]["stream"], &written[0]["ip"]),
        (&"live".into(), &"lobby".into(), &"192.0.2.7".into())
    );
    assert_eq!(written[1]["detail.label"], "a \"b\" \\ \u{7}\u{e9}");
    assert_eq!((&written[1]["kind"], &written[1]["detail.kind"]), (&"motion".into(), &"other".into()));
}

#[test]
fn forwarder_orders_markers_and_recordings() {
    let hook = built("event-forwarder", World::Events, &[("kinds", ""), ("markers", "motion"), ("record", "motion")]);
    let many: Vec<(String, String)> = (0..30).map(|n| (format!("k{n}"), "v".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let notices = [
        notice("motion", 1, &[("active", "true")]),
        notice("motion", 2, &[("active", "false")]),
        notice("motion", 3, &many),
    ];
    let orders = told(&hook, &notices);
    let kinds: Vec<&str> = orders.iter().map(|order| order.kind.as_str()).collect();
    assert_eq!(kinds, ["marker", "record-start", "marker", "record-stop", "marker", "record-start"]);
    assert!(orders.iter().all(|order| (order.app.as_str(), order.name.as_str()) == ("live", "lobby")));
    assert_eq!(orders[0].detail, pairs(&[("kind", "motion"), ("unix-ms", "1700000000001"), ("active", "true")]));
    assert_eq!(orders[4].detail.len(), 16, "what an order may have");
    assert!(lines(&hook).is_empty());
}

/// The largest batch: within the budget of a call, and what does not fit is counted.
#[test]
fn forwarder_takes_a_full_batch() {
    let hook = built("event-forwarder", World::Events, &[("markers", "*")]);
    let notices: Vec<Notice> = (0..256).map(|n| notice("play-start", n, &[("agent", "test")])).collect();
    assert_eq!(told(&hook, &notices).len(), 64);
    let written = lines(&hook);
    assert!(written.len() > 64, "{}", written.len());
    let counters = hook.settings().counters.snapshot();
    assert_eq!(counters["orders_dropped"], 256 - 64);
    assert!(counters["lines_dropped"] > 0);
    // Longer than a line and a pair may be, and not plain: cut, not refused by the server.
    let long = [("agent", "é".repeat(2000)), ("", "x".to_owned()), ("a\n", "b\u{7}".to_owned())];
    let long: Vec<(&str, &str)> = long.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let orders = told(&hook, &[notice("play-start", 999, &long)]);
    assert_eq!((orders[0].detail.len(), orders[0].detail[2].value.len()), (4, 1024));
    assert_eq!(orders[0].detail[3], pairs(&[("a ", "b ")])[0]);
    assert_eq!(lines(&hook).len(), written.len());
    // As much as notices can have: what the call may answer with is kept to.
    let much = vec![("name", "x".repeat(1024)); 16];
    let much: Vec<(&str, &str)> = much.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let notices: Vec<Notice> = (1000..1064).map(|n| notice("play-start", n, &much)).collect();
    let orders = told(&hook, &notices).len();
    assert!((5..64).contains(&orders), "{orders}");
}
