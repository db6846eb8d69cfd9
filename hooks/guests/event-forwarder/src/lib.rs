//! Forwards events: as lines of JSON in its log, where the API and collectors of logs find them, and as markers into the stream, where players do.
//!
//! What to learn here: an event hook. It gets notices in batches, some time after they happened, and answers with orders. It opens no sockets: the
//! server does what is ordered. A notice may come twice, so what must happen once is remembered (`kv-add`). A call may write 16 lines of 1,024
//! bytes, so several notices share a line, and what does not fit is counted, not lost without a word.
//!
//! `kinds` are the kinds that are forwarded ("*": all), `markers` those that become markers, `record` those that start a recording where
//! their `active` is "true" or missing, and stop it where it is "false": `record = "motion"` records while something moves.
use self::exports::millstream::hooks::{events, meta};
use self::millstream::hooks::host;

wit_bindgen::generate!({ path: "../../wit", world: "event-hook" });

struct EventForwarder;

const LINES_MAX: usize = 16;
const LINE_BYTES_MAX: usize = 1024;
const ORDERS_MAX: usize = 64;
const PAIRS_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 64;
const VALUE_BYTES_MAX: usize = 1024;
/// Of all orders of a call together; a call may answer with 256 KiB.
const ORDER_BYTES_MAX: usize = 128 << 10;
/// How long a notice is remembered.
const SEEN_MS: u32 = 10 * 60 * 1000;

/// Whether a list of the configuration ("publish-start, motion", or "*") has this kind.
fn has(list: &str, kind: &str) -> bool {
    list.split(',').map(str::trim).any(|it| it == "*" || it == kind)
}

fn json(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn line(notice: &events::Notice) -> String {
    let mut out = format!("{{\"id\":{},\"unix_ms\":{},\"kind\":", notice.id, notice.unix_ms);
    json(&mut out, &notice.kind);
    out.push_str(",\"app\":");
    json(&mut out, &notice.target.app);
    out.push_str(",\"stream\":");
    json(&mut out, &notice.target.name);
    if let Some(client) = &notice.client {
        out.push_str(",\"ip\":");
        json(&mut out, &client.ip);
        out.push_str(",\"protocol\":");
        json(&mut out, &client.protocol);
    }
    for pair in &notice.detail {
        out.push(',');
        // A name of its own, so that no detail is taken for one of the above.
        json(&mut out, &format!("detail.{}", pair.name));
        out.push(':');
        json(&mut out, &pair.value);
    }
    out.push('}');
    out
}

fn order(kind: &str, notice: &events::Notice, detail: Vec<events::Pair>) -> events::Order {
    let target = &notice.target;
    events::Order { kind: kind.into(), app: target.app.clone(), name: target.name.clone(), detail }
}

/// Text as an order may have it.
fn plain(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn marker(notice: &events::Notice) -> events::Order {
    let pair = |name: &str, value: &str| events::Pair {
        name: plain(name, NAME_BYTES_MAX),
        value: plain(value, VALUE_BYTES_MAX),
    };
    let mut detail = vec![pair("kind", &notice.kind), pair("unix-ms", &notice.unix_ms.to_string())];
    let more = notice.detail.iter().filter(|it| !it.name.is_empty()).take(PAIRS_MAX - detail.len());
    detail.extend(more.map(|it| pair(&it.name, &it.value)));
    order("marker", notice, detail)
}

fn bytes(order: &events::Order) -> usize {
    order.detail.iter().map(|pair| pair.name.len() + pair.value.len()).sum()
}

/// Whether it has come before.
fn is_seen(notice: &events::Notice) -> bool {
    let times = host::kv_add(&format!("{}:{}", notice.unix_ms, notice.id), 1, SEEN_MS);
    times.is_ok_and(|times| times > 1)
}

impl events::Guest for EventForwarder {
    fn on_notices(notices: Vec<events::Notice>) -> Vec<events::Order> {
        let list = |key: &str, usual: &str| host::config(key).unwrap_or_else(|| usual.into());
        let (kinds, markers, record) = (list("kinds", "*"), list("markers", ""), list("record", ""));
        let (mut lines, mut orders) = (Vec::<String>::new(), Vec::new());
        for notice in &notices {
            let [is_forwarded, is_marker, is_record] = [&kinds, &markers, &record].map(|list| has(list, &notice.kind));
            if !(is_forwarded || is_marker || is_record) || is_seen(notice) {
                continue;
            }
            if is_forwarded {
                let text = line(notice);
                match lines.last_mut() {
                    Some(last) if last.len() + 1 + text.len() <= LINE_BYTES_MAX => {
                        last.push(' ');
                        last.push_str(&text);
                    }
                    _ => lines.push(text),
                }
            }
            if is_marker {
                orders.push(marker(notice));
            }
            if is_record {
                let is_over = notice.detail.iter().any(|pair| pair.name == "active" && pair.value == "false");
                orders.push(order(if is_over { "record-stop" } else { "record-start" }, notice, vec![]));
            }
        }
        let whole = |line: &&String| line.len() <= LINE_BYTES_MAX;
        let written = lines.iter().filter(whole).take(LINES_MAX).map(|line| host::log(host::Level::Info, line)).count();
        host::count("lines_dropped", (lines.len() - written) as u64);
        let mut sum = 0;
        let fits = |order: &&events::Order| {
            sum += bytes(order);
            sum <= ORDER_BYTES_MAX
        };
        let kept = orders.iter().take(ORDERS_MAX).take_while(fits).count();
        host::count("orders_dropped", (orders.len() - kept) as u64);
        orders.truncate(kept);
        orders
    }
}

impl meta::Guest for EventForwarder {
    fn describe() -> meta::Info {
        let setting = |name: &str, about: &str, default: &str| meta::Setting {
            name: name.into(),
            about: about.into(),
            kind: "text".into(),
            required: false,
            default: Some(default.into()),
            extra: vec![],
        };
        meta::Info {
            name: "event-forwarder".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings: vec![
                setting("kinds", "Kinds that are forwarded, with commas between; *: all.", "*"),
                setting("markers", "Kinds that become markers in the stream.", ""),
                setting("record", "Kinds that start and stop a recording.", ""),
            ],
            extra: vec![],
        }
    }

    fn check_config() -> Result<(), String> {
        Ok(())
    }
}

export!(EventForwarder);
