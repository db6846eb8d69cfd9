//! Admits by address and by time of day: `allow = "10.0.0.0/8, 2001:db8::/32"`, `hours = "mon-fri 08:00-18:00, sat 10:00-14:00"`.
//!
//! What to learn here: reading a configuration and refusing a wrong one (`check_config`), the client's address, the time that the server tells, and
//! a grant that ends by itself: when the hours are over, sessions end. Times are UTC plus `utc-offset` ("+02:00"); a hook has no table of summer
//! times. With `pass = "next"` the hook only refuses, and who passes is asked for more by the next step of the chain.
use std::net::IpAddr;

use self::exports::millstream::hooks::{auth, meta};
use self::millstream::hooks::host;

wit_bindgen::generate!({ path: "../../wit", world: "auth-hook" });

struct AllowList;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u32 = 24 * 60;

/// A network: its first address, and how many bits of it count.
struct Net(IpAddr, u32);

impl Net {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("allow: {text:?} is no address or network such as 192.0.2.0/24");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most { Err(wrong()) } else { Ok(Self(address, bits)) }
    }

    fn has(&self, address: IpAddr) -> bool {
        // IPv4 in the upper bits, so that one comparison does for both.
        let bits = |address: IpAddr| match address {
            IpAddr::V4(it) => u128::from(it.to_bits()) << 96,
            IpAddr::V6(it) => it.to_bits(),
        };
        let differs = bits(self.0) ^ bits(address);
        self.0.is_ipv4() == address.is_ipv4() && differs.leading_zeros() >= self.1
    }
}

/// On these days (0: Monday), from one minute of the day until another; over midnight where the second is not later.
struct Hours {
    days: (u32, u32),
    from: u32,
    until: u32,
}

impl Hours {
    fn parse(text: &str) -> Result<Self, String> {
        let read = || {
            let (days, times) = text.split_once(' ')?;
            let (first, last) = days.split_once('-').unwrap_or((days, days));
            let day = |name: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(name)).map(|day| day as u32);
            let (from, until) = times.trim().split_once('-')?;
            Some(Self { days: (day(first)?, day(last)?), from: minutes(from)?, until: minutes(until)? })
        };
        read().ok_or_else(|| format!("hours: {text:?} is not like \"mon-fri 08:00-18:00\""))
    }

    /// Minutes until they end, where this minute of the week is within them.
    fn left(&self, minute_of_week: u32) -> Option<u32> {
        let long = (self.until + DAY - self.from - 1) % DAY + 1;
        let on = |day: u32| match self.days {
            (first, last) if first <= last => (first..=last).contains(&day),
            (first, last) => day >= first || day <= last,
        };
        let since = |day: u32| (minute_of_week + 7 * DAY - day * DAY - self.from) % (7 * DAY);
        (0..7).filter(|day| on(*day) && since(*day) < long).map(|day| long - since(day)).max()
    }
}

/// "18:30" in minutes; "24:00" is the end of the day.
fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (minutes < 60 && hours * 60 + minutes <= DAY).then_some(hours * 60 + minutes)
}

/// The binding's configuration, read. Each call reads it anew: it gets a fresh instance, and this costs a microsecond.
struct Config {
    nets: Vec<Net>,
    hours: Vec<Hours>,
    offset_minutes: i64,
    admits: bool,
}

fn config() -> Result<Config, String> {
    let items = |key: &str| host::config(key).unwrap_or_default();
    let split = |text: &str| -> Vec<String> {
        text.split(',').map(|it| it.trim().into()).filter(|it: &String| !it.is_empty()).collect()
    };
    let nets = split(&items("allow")).iter().map(|text| Net::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let hours = split(&items("hours")).iter().map(|text| Hours::parse(text)).collect::<Result<Vec<_>, _>>()?;
    if nets.is_empty() && hours.is_empty() {
        return Err("set allow to networks, or hours to times, or both".into());
    }
    let offset = items("utc-offset");
    let offset_minutes = match (offset.strip_prefix('-'), offset.trim_start_matches('+')) {
        (None, "") => Some(0),
        (Some(west), _) => minutes(west).map(|it| -i64::from(it)),
        (None, east) => minutes(east).map(i64::from),
    };
    let offset_minutes = offset_minutes.ok_or_else(|| format!("utc-offset: {offset:?} is not like \"+02:00\""))?;
    let admits = match items("pass").as_str() {
        "" | "allow" => true,
        "next" => false,
        other => return Err(format!("pass is {other:?}: \"allow\" or \"next\"")),
    };
    Ok(Config { nets, hours, offset_minutes, admits })
}

fn deny(why: &str, reason: &str) -> auth::Step {
    auth::Step::Deny(auth::Denial { why: why.into(), reason: reason.into(), retry_ms: None })
}

impl auth::Guest for AllowList {
    fn authorize(request: auth::Request) -> auth::Step {
        let config = match config() {
            Ok(config) => config,
            Err(error) => {
                host::log(host::Level::Error, &error);
                return deny("busy", "the server's list of addresses cannot be read");
            }
        };
        let address = request.client.ip.parse::<IpAddr>().map(|ip| ip.to_canonical());
        let listed = |ip: IpAddr| config.nets.is_empty() || config.nets.iter().any(|net| net.has(ip));
        if !address.is_ok_and(listed) {
            host::count("other_addresses", 1);
            return deny("forbidden", "this address is not on the list");
        }
        // 1970-01-01 was a Thursday: three days after a Monday.
        let ms = host::unix_ms() as i64 + config.offset_minutes * 60_000;
        let minute_of_week = (ms.div_euclid(60_000) + 3 * i64::from(DAY)).rem_euclid(7 * i64::from(DAY)) as u32;
        let left = config.hours.iter().filter_map(|hours| hours.left(minute_of_week)).max();
        if left.is_none() && !config.hours.is_empty() {
            host::count("other_hours", 1);
            return deny("forbidden", "not at this time");
        }
        if !config.admits {
            return auth::Step::Next;
        }
        // In milliseconds, without what has gone of this minute. Without hours there is no end.
        let valid_ms = left.map_or(0, |left| left * 60_000 - ms.rem_euclid(60_000) as u32);
        auth::Step::Allow(auth::Grant {
            recheck_ms: 0,
            valid_ms,
            slots: vec![],
            labels: vec![],
            rename: None,
            recording: None,
            extra: vec![],
        })
    }

    fn resume(_: auth::Request, _: Vec<u8>, _: Result<auth::Reply, String>) -> auth::Step {
        auth::Step::Next
    }
}

impl meta::Guest for AllowList {
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
            name: "allow-list".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings: vec![
                setting("allow", "Networks with commas between, such as 10.0.0.0/8; empty: any.", ""),
                setting("hours", "Such as mon-fri 08:00-18:00, sat 10:00-14:00; empty: always.", ""),
                setting("utc-offset", "Of the hours, such as +02:00.", "+00:00"),
                setting("pass", "Who passes: allow admits, next asks the next step.", "allow"),
            ],
            extra: vec![],
        }
    }

    fn check_config() -> Result<(), String> {
        config().map(|_| ())
    }
}

export!(AllowList);
