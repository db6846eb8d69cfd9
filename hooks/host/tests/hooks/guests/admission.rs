//! The guests that admit by address, by time, and by how many are there.
use millstream_hooks::wit::auth::{Request, Step};
use millstream_hooks::{Hook, World};

use super::{built, why};
use crate::fixture::request;

/// Monday, 5 January 2026, 00:00 UTC.
const MONDAY_MS: u64 = 1_767_571_200_000;
const HOUR_MS: u64 = 3_600_000;

fn from(ip: &str) -> Request {
    let mut request = request("publish", &[]);
    request.client.ip = ip.into();
    request
}

fn list(config: &[(&str, &str)]) -> Hook {
    let hook = built("allow-list", World::Auth, config);
    assert_eq!(hook.check_config().result.unwrap(), Ok(()), "{config:?}");
    hook
}

fn admits(hook: &Hook, ip: &str) -> bool {
    match hook.authorize(&from(ip)).result.unwrap() {
        Step::Allow(grant) => grant.valid_ms == 0,
        step => {
            assert_eq!(why(step), "forbidden");
            false
        }
    }
}

#[test]
fn allow_list_knows_networks_of_both_kinds() {
    let hook = list(&[("allow", "10.0.0.0/8, 192.0.2.7,2001:db8::/33, 0.0.0.0/32")]);
    for ip in ["10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8::1", "2001:db8:7fff:ffff::", "::ffff:10.1.2.3"] {
        assert!(admits(&hook, ip), "{ip}");
    }
    // An IPv4 network is none of IPv6 with the same bits in front.
    for ip in ["11.0.0.0", "9.255.255.255", "192.0.2.8", "2001:db8:8000::", "a00::", "::", "no address", ""] {
        assert!(!admits(&hook, ip), "{ip}");
    }
    let all = list(&[("allow", "0.0.0.0/0")]);
    assert!(admits(&all, "203.0.113.9") && !admits(&all, "2001:db8::1"));
    let next = list(&[("allow", "10.0.0.0/8"), ("pass", "next")]);
    assert_eq!(next.authorize(&from("10.0.0.1")).result.unwrap(), Step::Next);
    assert_eq!(why(next.authorize(&from("192.0.2.1")).result.unwrap()), "forbidden");
}

/// The milliseconds that are left at so many hours after Monday began.
fn left(hook: &Hook, hours: f64) -> Option<u32> {
    let at = hook.at(MONDAY_MS + (hours * HOUR_MS as f64) as u64);
    match at.authorize(&from("192.0.2.7")).result.unwrap() {
        Step::Allow(grant) => Some(grant.valid_ms),
        step => {
            assert_eq!(why(step), "forbidden");
            None
        }
    }
}

#[test]
fn allow_list_ends_sessions_when_the_hours_are_over() {
    let hours = |n: f64| Some((n * HOUR_MS as f64) as u32);
    let day = list(&[("hours", "mon-fri 08:00-18:00, sat 10:00-14:30")]);
    assert_eq!(left(&day, 7.99), None);
    assert_eq!(left(&day, 8.0), hours(10.0));
    assert_eq!(left(&day, 17.5), hours(0.5));
    assert_eq!(left(&day, 18.0), None);
    assert_eq!(left(&day, 4.0 * 24.0 + 9.0), hours(9.0), "Friday");
    assert_eq!(left(&day, 5.0 * 24.0 + 9.0), None, "Saturday");
    assert_eq!(left(&day, 5.0 * 24.0 + 14.0), hours(0.5));
    assert_eq!(left(&day, 6.0 * 24.0 + 12.0), None, "Sunday");
    // Over midnight, and over the end of the week.
    let night = list(&[("hours", "sun 22:00-06:00")]);
    assert_eq!(left(&night, 5.0), hours(1.0));
    assert_eq!(left(&night, 6.0), None);
    assert_eq!(left(&night, 6.0 * 24.0 + 23.0), hours(7.0));
    assert_eq!(left(&night, 5.0 * 24.0 + 23.0), None);
    // All day, every day, from a Friday to a Tuesday.
    assert_eq!(left(&list(&[("hours", "fri-tue 00:00-24:00")]), 23.0), hours(1.0));
    assert_eq!(left(&list(&[("hours", "fri-tue 00:00-24:00")]), 49.0), None);
    // 08:00 there is 06:00 UTC, and 13:00 of the day before.
    assert_eq!(left(&list(&[("hours", "mon 08:00-09:00"), ("utc-offset", "+02:00")]), 6.0), hours(1.0));
    let west = list(&[("hours", "mon 20:00-22:00"), ("utc-offset", "-05:00")]);
    assert_eq!((left(&west, 25.0), left(&west, 21.0)), (hours(2.0), None));
    // To the millisecond: not a minute longer.
    assert_eq!(left(&day, 17.0 + 59.5 / 60.0), Some(30_000));
}

#[test]
fn allow_list_refuses_what_it_cannot_read() {
    for (config, words) in [
        (&[][..], "set allow"),
        (&[("allow", "10.0.0.0/33")], "10.0.0.0/33"),
        (&[("allow", "example.com")], "example.com"),
        (&[("hours", "8-18")], "8-18"),
        (&[("hours", "mon 08:00-25:00")], "25:00"),
        (&[("hours", "mon 08:60-09:00")], "08:60"),
        (&[("allow", "::/0"), ("utc-offset", "CET")], "CET"),
        (&[("allow", "::/0"), ("pass", "maybe")], "maybe"),
    ] {
        let hook = built("allow-list", World::Auth, config);
        let refused = hook.check_config().result.unwrap().unwrap_err();
        assert!(refused.contains(words), "{refused}");
        assert_eq!(
            why(hook.authorize(&from("10.0.0.1")).result.unwrap()),
            "busy",
            "nobody passes a list that is wrong"
        );
    }
}

#[test]
fn viewer_cap_asks_for_the_places_that_are_configured() {
    let both = built("viewer-cap", World::Auth, &[("per-stream", "500"), ("per-viewer", "2")]);
    assert_eq!(both.check_config().result.unwrap(), Ok(()));
    let slots = |hook: &Hook, params: &[(&str, &str)]| match hook.authorize(&request("play", params)).result.unwrap() {
        Step::Allow(grant) => grant.slots.into_iter().map(|slot| (slot.key, slot.max)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(slots(&both, &[]), [("stream:live/lobby".to_owned(), 500), ("viewer:192.0.2.7".to_owned(), 2)]);
    assert_eq!(both.authorize(&request("publish", &[])).result.unwrap(), Step::Next);
    let named = built("viewer-cap", World::Auth, &[("per-viewer", "1"), ("viewer", "param:user")]);
    assert_eq!(slots(&named, &[("user", "anna")]), [("viewer:anna".to_owned(), 1)]);
    for params in [&[][..], &[("user", "")]] {
        assert_eq!(why(named.authorize(&request("play", params)).result.unwrap()), "unauthenticated");
    }
    // The server takes keys of 128 bytes: longer ones are told apart all the same.
    let (one, other) = ("x".repeat(500), "x".repeat(501));
    let keys = [one, other].map(|user| slots(&named, &[("user", &user)]).remove(0).0);
    assert!(keys[0] != keys[1] && keys.iter().all(|key| key.len() <= 128), "{keys:?}");
    for config in
        [&[][..], &[("per-stream", "0")], &[("per-viewer", "two")], &[("per-stream", "1"), ("viewer", "name")]]
    {
        let hook = built("viewer-cap", World::Auth, config);
        assert!(hook.check_config().result.unwrap().is_err(), "{config:?}");
        assert_eq!(why(hook.authorize(&request("play", &[])).result.unwrap()), "busy");
    }
}
