//! Where encoders and players reach this machine: as the configuration says (`public_url`), or else by where it listens. Before it:
//! [`crate::layers`] and the engine's listeners; after it: the API's answers, and control, which is told over the link.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use millstream_engine::Addresses;

use crate::layers;
use crate::settings::Public;

/// Addresses for documentation: nothing is sent to them, they only choose the interface that leads out.
const ELSEWHERE: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// `rtmps://host[:port]`, where there is RTMPS: at the host that the configuration says, else where it listens.
pub(crate) fn rtmps_url(public: &Public, listening: &Addresses) -> String {
    let said = public.rtmp.as_deref().unwrap_or_default();
    match listening.rtmps {
        _ if said.starts_with("rtmps://") => said.to_owned(),
        Some(listener) => match layers::host_of(said) {
            Some(host) if host.contains(':') => format!("rtmps://[{host}]:{}", listener.port()),
            Some(host) => format!("rtmps://{host}:{}", listener.port()),
            None => format!("rtmps://{}", SocketAddr::new(reached(listener.ip()), listener.port())),
        },
        None => String::new(),
    }
}

/// Where workers of other machines come to, as they reach it: as the configuration says, else where it listens.
pub(crate) fn worker_url(said: Option<&str>, listening: SocketAddr) -> String {
    let found = || format!("tcp://{}", SocketAddr::new(reached(listening.ip()), listening.port()));
    said.map_or_else(found, str::to_owned)
}

/// `rtmp://host[:port]` and `http://host[:port]`.
pub(crate) fn urls(public: &Public, listening: &Addresses) -> (String, String) {
    let url = |said: &Option<String>, scheme: &str, usual: u16, listener: SocketAddr| {
        said.clone().unwrap_or_else(|| {
            let host = SocketAddr::new(reached(listener.ip()), listener.port());
            let text = host.to_string();
            let short = text.strip_suffix(&format!(":{usual}")).unwrap_or(&text);
            format!("{scheme}://{short}")
        })
    };
    (url(&public.rtmp, "rtmp", 1935, listening.rtmp), url(&public.http, "http", 80, listening.http))
}

/// The addresses of a fleet as a whole, such as a load balancer's, where the configuration of its control has some.
pub(crate) fn of_fleet(public: &Public) -> Option<millstream_api::Here> {
    let (rtmp_url, http_url) = (public.rtmp.clone(), public.http.clone());
    (rtmp_url.is_some() || http_url.is_some()).then(|| millstream_api::Here {
        node: String::new(),
        rtmp_url: rtmp_url.unwrap_or_default(),
        http_url: http_url.unwrap_or_default(),
        rtmps_url: public.rtmp.clone().filter(|url| url.starts_with("rtmps://")).unwrap_or_default(),
    })
}

/// The address that others have for one that listens: where it listens everywhere, the one of the interface that leads out.
fn reached(listener: IpAddr) -> IpAddr {
    if !listener.is_unspecified() {
        return listener;
    }
    let (four, six) = ELSEWHERE;
    let four = || outward(Ipv4Addr::UNSPECIFIED.into(), four.into());
    let six = || outward(Ipv6Addr::UNSPECIFIED.into(), six.into());
    let found = if listener.is_ipv4() { four() } else { four().or_else(six) };
    found.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Which of this machine's addresses a datagram to `to` would come from.
fn outward(any: IpAddr, to: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_counts_and_else_where_it_listens() {
        let listening = |rtmp: &str, http: &str| Addresses {
            rtmp: rtmp.parse().unwrap(),
            http: http.parse().unwrap(),
            rtmps: None,
            https: None,
            control: None,
        };
        let said = Public { rtmp: Some("rtmps://push.example.org".to_owned()), ..Public::default() };
        let check = |public: &Public, at: Addresses, rtmp: &str, http: &str| {
            assert_eq!(urls(public, &at), (rtmp.to_owned(), http.to_owned()));
        };
        let none = Public::default();
        check(&none, listening("192.0.2.7:1935", "192.0.2.7:80"), "rtmp://192.0.2.7", "http://192.0.2.7");
        check(&none, listening("[::1]:1935", "127.0.0.1:8080"), "rtmp://[::1]", "http://127.0.0.1:8080");
        check(&said, listening("0.0.0.0:1935", "127.0.0.1:1935"), "rtmps://push.example.org", "http://127.0.0.1:1935");
        assert_eq!(worker_url(None, "192.0.2.7:8082".parse().unwrap()), "tcp://192.0.2.7:8082");
        assert_eq!(worker_url(Some("tls://a:1"), "0.0.0.0:8082".parse().unwrap()), "tls://a:1");
        assert_eq!(of_fleet(&none), None);
        let fleet = of_fleet(&said).unwrap();
        assert_eq!((&*fleet.node, &*fleet.rtmp_url, &*fleet.http_url), ("", "rtmps://push.example.org", ""));
        let (rtmp, _) = urls(&none, &listening("0.0.0.0:1936", "0.0.0.0:80"));
        assert!(rtmp.ends_with(":1936") && !rtmp.contains("0.0.0.0"), "{rtmp}");
    }
}
