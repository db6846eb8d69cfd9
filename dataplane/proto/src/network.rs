//! A network in CIDR notation, such as `10.0.0.0/8`: whom the configuration trusts. Before it: a line of the configuration; after
//! it: the engine asks it about the address that a connection comes from.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses that begin alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    first: IpAddr,
    prefix_bits: u8,
}

/// Text that names no network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// What stands before the slash.
    #[error("not an IP address")]
    Address,
    /// What stands behind the slash.
    #[error("the prefix is not a number of bits up to {max}")]
    Prefix {
        /// Bits of an address of that family.
        max: u8,
    },
    /// Bits behind the prefix are set: a slip, and this decides who is trusted.
    #[error("the address has bits behind its prefix; the network is {0}")]
    Bits(Network),
    /// IPv4 written as IPv6: connections are looked up as what they are.
    #[error("an IPv4 network in IPv6 notation; write it as IPv4")]
    Mapped,
}

impl Network {
    /// Whether that address is in it. IPv4 that came to an IPv6 socket is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                masked(address.to_canonical(), self.prefix_bits) == self.first
            }
            _ => false,
        }
    }
}

/// What a peer is counted by: an IPv4 address, also where it comes to an IPv6 socket, or the /64 that an IPv6 host can choose addresses from.
pub fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        six @ IpAddr::V6(_) => masked(six, 64),
        four @ IpAddr::V4(_) => four,
    }
}

/// What belongs to one party: an IPv4 address, or the /48 that a site has of IPv6.
pub fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        six @ IpAddr::V6(_) => masked(six, 48),
        four @ IpAddr::V4(_) => four,
    }
}

/// The address with all bits behind the prefix cleared.
fn masked(address: IpAddr, prefix_bits: u8) -> IpAddr {
    let prefix_bits = u32::from(prefix_bits);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix_bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix_bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// An address alone is a network of one.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        if address.to_canonical() != address {
            return Err(NetworkError::Mapped);
        }
        let max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => max,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|bits| *bits <= max).ok_or(NetworkError::Prefix { max })?
            }
            Some(_) => return Err(NetworkError::Prefix { max }),
        };
        let network = Self { first: masked(address, prefix_bits), prefix_bits };
        if network.first == address { Ok(network) } else { Err(NetworkError::Bits(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let network: Network = network.parse().unwrap();
        for address in inside {
            assert!(network.contains(address.parse().unwrap()), "{address} is in {network}");
        }
        for address in outside {
            assert!(!network.contains(address.parse().unwrap()), "{address} is not in {network}");
        }
    }

    #[test]
    fn addresses_in_and_out() {
        check("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], &["11.0.0.0", "9.255.255.255", "::a"]);
        check("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "::1"]);
        check("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "2001:db8::1"]);
        check("2001:db8::/33", &["2001:db8::1", "2001:db8:7fff::"], &["2001:db8:8000::", "32.1.13.184"]);
        check("::/0", &["::1", "ff02::1"], &["127.0.0.1", "::ffff:127.0.0.1"]);
        check("::1/128", &["::1"], &["::", "::2"]);
    }

    #[test]
    fn what_names_no_network() {
        let check = |text: &str, expected| assert_eq!(text.parse::<Network>().unwrap_err(), expected, "{text}");
        for text in ["", "/", "10.0.0/8", "localhost", "10.0.0.0:80", "[::1]", "10.0.0.0 /8"] {
            check(text, NetworkError::Address);
        }
        for text in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0.0/256", "10.0.0.0/ 8"] {
            check(text, NetworkError::Prefix { max: 32 });
        }
        check("::/129", NetworkError::Prefix { max: 128 });
        check("::ffff:10.0.0.0/104", NetworkError::Mapped);
        let error = "10.1.2.3/8".parse::<Network>().unwrap_err();
        assert_eq!(error.to_string(), "the address has bits behind its prefix; the network is 10.0.0.0/8");
    }
}
