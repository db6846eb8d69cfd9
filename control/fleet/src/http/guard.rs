//! Which addresses may be connected to. A URL that a customer wrote must not lead to what only this machine reaches: its own services,
//! its network, a cloud's metadata. So names are resolved first, every address is looked at, and the connection goes to what was
//! looked at; a second look-up could give another answer.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use millstream_proto::network::Network;

/// Where connections may go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Guard {
    /// Anywhere: the URL is the operator's own.
    Open,
    /// To public addresses, and to these networks.
    PublicAnd(Vec<Network>),
}

impl Guard {
    /// Whether this address may be connected to.
    pub fn allows(&self, address: IpAddr) -> bool {
        match self {
            Self::Open => true,
            Self::PublicAnd(networks) => is_public(address) || networks.iter().any(|network| network.contains(address)),
        }
    }
}

/// Whether an address is one that anybody on the internet could be asked at (IANA's special-purpose registries; `is_global` of the
/// standard library is not stable).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        // "This network", shared address space (carriers' NAT), IETF's own, benchmarks, the rest of class E, broadcast.
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (b == 18 || b == 19))
        || a >= 240;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = inner_v4(address) {
        return is_public_v4(v4);
    }
    let segments = address.segments();
    // Only 2000::/3 is given out; within it are documentation, and IETF's own (with Teredo and ORCHID).
    let given_out = segments[0] & 0xe000 == 0x2000;
    let documentation = (segments[0], segments[1]) == (0x2001, 0x0db8) || segments[0] & 0xfff0 == 0x3ff0;
    let ietf = segments[0] == 0x2001 && segments[1] < 0x0200;
    given_out && !documentation && !ietf
}

/// The IPv4 address that an IPv6 address is another way of writing, or leads to: mapped, compatible, NAT64, 6to4.
fn inner_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    let v4 = |shift: u32| Some(Ipv4Addr::from_bits((bits >> shift) as u32));
    match bits >> 32 {
        0 | 0xffff => v4(0),
        nat64 if nat64 == 0x0064_ff9b << 64 => v4(0),
        _ if bits >> 112 == 0x2002 => v4(80),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_this_machine_reaches_is_not_public() {
        for private in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.170",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "fec0::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "2002:101:101::1",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn networks_can_be_allowed() {
        let guard = Guard::PublicAnd(vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let allows = |address: &str| guard.allows(address.parse().unwrap());
        assert!(allows("10.1.2.3") && allows("fd00::1") && allows("1.1.1.1"));
        assert!(!allows("10.2.0.1") && !allows("127.0.0.1"));
        assert!(Guard::Open.allows("127.0.0.1".parse().unwrap()));
    }
}
