//! How often somebody may try to log in: wrong tokens by address, right ones by token. Asked by [`super::login`].
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use millstream_proto::network::counted;

/// Wrong tokens of one address (an IPv6 /64) within [`WINDOW_MS`].
const FAILURES_PER_ADDRESS_MAX: u32 = 5;
/// Wrong tokens of all addresses within [`WINDOW_MS`].
const FAILURES_MAX: u32 = 100;
/// Milliseconds after which tries are forgotten.
const WINDOW_MS: u64 = 60_000;
/// Logins of one token at once, and the milliseconds after which there may be one more.
const LOGINS_AT_ONCE: u64 = 40;
const LOGIN_EVERY_MS: u64 = 60_000;
/// Tokens whose logins are remembered, before those that have none to count are forgotten. There are some thousand tokens at most.
const TOKENS_REMEMBERED_MAX: usize = 256;
/// Addresses that are remembered: more than [`FAILURES_MAX`] tries do not come from more.
const ADDRESSES_MAX: usize = FAILURES_MAX as usize;

/// Wrong tokens of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    since_ms: u64,
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

impl Failures {
    /// Counts a wrong token. Gives the seconds to wait where the address, or all of them together, had as many as they may have.
    ///
    /// Looked at and counted in one step: tries at the same moment do not pass each other. Right tokens are not counted and never wait, so
    /// that nobody locks out others who share an address.
    pub(super) fn count(&self, address: Option<IpAddr>, now_ms: u64) -> Option<u32> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Also where the clock was set back, so that nobody is locked out for long.
        if now_ms.abs_diff(window.since_ms) >= WINDOW_MS {
            *window = Window { since_ms: now_ms, ..Window::default() };
        }
        let own = address.and_then(|address| window.by_address.get(&counted(address)).copied()).unwrap_or(0);
        let full = own >= FAILURES_PER_ADDRESS_MAX || window.all >= FAILURES_MAX;
        if full {
            return Some((WINDOW_MS.saturating_sub(now_ms.abs_diff(window.since_ms)) / 1_000 + 1) as u32);
        }
        window.all += 1;
        if let Some(address) = address
            && (window.by_address.len() < ADDRESSES_MAX || window.by_address.contains_key(&counted(address)))
        {
            *window.by_address.entry(counted(address)).or_default() += 1;
        }
        None
    }
}

/// Logins of each token: some at once, and then one a minute, because each is an entry of the audit log, which keeps it for more than a year.
#[derive(Debug, Default)]
pub(crate) struct Logins(Mutex<HashMap<String, Spent>>);

/// A token's logins that count, and since when.
#[derive(Clone, Copy, Debug)]
struct Spent {
    logins: u64,
    since_ms: u64,
}

impl Logins {
    /// Counts a login. Gives the seconds to wait where the token had as many as it may have.
    pub(super) fn count(&self, token_id: &str, now_ms: u64) -> Option<u32> {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Also where the clock was set back.
        let passed = |spent: &Spent| now_ms.abs_diff(spent.since_ms) / LOGIN_EVERY_MS;
        if tokens.len() >= TOKENS_REMEMBERED_MAX {
            tokens.retain(|_, spent| spent.logins > passed(spent));
        }
        let spent = tokens.entry(token_id.to_owned()).or_insert(Spent { logins: 0, since_ms: now_ms });
        let free = passed(spent);
        if free >= spent.logins {
            *spent = Spent { logins: 0, since_ms: now_ms };
        } else if free > 0 {
            spent.logins -= free;
            spent.since_ms = if now_ms > spent.since_ms { spent.since_ms + free * LOGIN_EVERY_MS } else { now_ms };
        }
        if spent.logins >= LOGINS_AT_ONCE {
            let wait_ms = LOGIN_EVERY_MS.saturating_sub(now_ms.abs_diff(spent.since_ms));
            return Some((wait_ms / 1_000 + 1) as u32);
        }
        spent.logins += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_some_logins_at_once_and_then_one_a_minute() {
        let logins = Logins::default();
        for _ in 0..LOGINS_AT_ONCE {
            assert_eq!(logins.count("a", 1_000_000), None);
        }
        assert_eq!(logins.count("a", 1_000_000), Some(61));
        assert_eq!(logins.count("b", 1_000_000), None);
        assert_eq!((logins.count("a", 1_059_000), logins.count("a", 1_060_000)), (Some(2), None));
        assert_eq!(logins.count("a", 1_060_000), Some(61));
        // A clock that was set back locks nobody out, and a long time gives no more than the first ones.
        assert_eq!(logins.count("a", 0), None);
        for _ in 0..LOGINS_AT_ONCE {
            assert_eq!(logins.count("c", 9_000_000), None);
        }
        assert!(logins.count("c", 9_000_000).is_some());
        assert_eq!(logins.count("c", 900_000_000), None);
    }

    #[test]
    fn wrong_tokens_cost_their_network_its_tries_for_a_minute() {
        let failures = Failures::default();
        let address = |text: &str| Some(text.parse().unwrap());
        let (one, neighbour, other) = (address("2001:db8::1"), address("2001:db8::2"), address("192.0.2.1"));
        for _ in 0..FAILURES_PER_ADDRESS_MAX {
            assert_eq!(failures.count(one, 100_000), None);
        }
        assert_eq!(failures.count(one, 110_000), Some(51));
        assert_eq!(failures.count(neighbour, 110_000), Some(51));
        assert_eq!(failures.count(other, 110_000), None);
        assert_eq!(failures.count(one, 160_000), None);
        // A port of both families shows IPv4 addresses mapped: each is one of its own, and the same as without the mapping.
        for n in 0..FAILURES_PER_ADDRESS_MAX {
            let mapped = if n % 2 == 0 { "::ffff:198.51.100.1" } else { "198.51.100.1" };
            assert_eq!(failures.count(address(mapped), 161_000), None);
        }
        assert!(failures.count(address("198.51.100.1"), 161_000).is_some());
        assert_eq!(failures.count(address("::ffff:198.51.100.2"), 161_000), None);
        // All addresses together, too; and a clock that was set back locks nobody out for ever.
        for n in 0..FAILURES_MAX {
            failures.count(Some(IpAddr::from([10, 0, (n >> 8) as u8, n as u8])), 162_000);
        }
        assert!(failures.count(other, 163_000).is_some());
        assert_eq!(failures.count(other, 1_000), None);
    }
}
