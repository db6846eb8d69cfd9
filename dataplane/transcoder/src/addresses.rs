//! Where the worker finds its node: the addresses of streams and renditions, with their jobs' tokens. Before it: the engine's listeners; after it:
//! [`super::workers`], which puts them into orders.
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use millstream_engine::renditions::{BEHIND_PARAM, JOB_PARAM};
use millstream_proto::id::Id;
use millstream_proto::network::Network;
use millstream_proto::sign::job::JobKey;
use millstream_worker::protocol::{Order, SecretUrl};

use super::marks::{Marks, Spoken};
use super::table::Places;

/// Where this node listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// For viewers over HTTP.
    pub http: SocketAddr,
    /// For publishers over RTMP.
    pub rtmp: SocketAddr,
    /// Who connects to them begins with a PROXY header: those that come from these networks.
    pub introduced: Introduced,
}

/// Where PROXY headers are demanded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Introduced {
    /// On the port for viewers.
    pub http: Vec<Network>,
    /// On that for publishers.
    pub rtmp: Vec<Network>,
}

/// How a worker comes to the node's ports. The default: from the same machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Way {
    /// The node's address, where it listens at all of them.
    pub(crate) host: Option<IpAddr>,
    /// The worker's address.
    pub(crate) from: Option<IpAddr>,
}

impl Addresses {
    /// What a worker has to be told first.
    pub(crate) fn introduction(&self, way: Way) -> Option<Order> {
        let is_of = |networks: &[Network], at| {
            let from = way.from.unwrap_or_else(|| way.reaches(at).ip());
            networks.iter().any(|network| network.contains(from))
        };
        let (http, rtmp) = (is_of(&self.introduced.http, self.http), is_of(&self.introduced.rtmp, self.rtmp));
        (http || rtmp).then_some(Order::Introduce { http, rtmp })
    }

    /// The ports that any worker connects to.
    pub(crate) fn ports(&self) -> Vec<u16> {
        vec![self.http.port(), self.rtmp.port()]
    }

    /// An address of these that nobody comes to who has reached this machine at that one.
    pub(crate) fn out_of_reach(&self, reached: IpAddr) -> Option<SocketAddr> {
        let is_closed = |at: &SocketAddr| at.ip().is_loopback() && !reached.is_loopback();
        [self.http, self.rtmp].into_iter().find(is_closed)
    }
}

/// The node's own ports.
pub(crate) struct At<'a> {
    pub(crate) addresses: &'a Addresses,
    /// The application that publishers name.
    pub(crate) app: &'a str,
    pub(crate) jobs: &'a JobKey,
    pub(crate) marks: &'a Mutex<Marks>,
    pub(crate) way: Way,
}

impl Places for At<'_> {
    fn source(&self, stream: &Id) -> SecretUrl {
        SecretUrl::new(format!("{}&{BEHIND_PARAM}=1", self.stream(stream)))
    }

    fn push(&self, rendition: &Id) -> SecretUrl {
        let (at, token) = (self.way.reaches(self.addresses.rtmp), self.jobs.token(rendition));
        SecretUrl::new(format!("rtmp://{at}/{}/{rendition}?{JOB_PARAM}={}", self.app, token.expose()))
    }

    fn marks(&self, stream: &Id, now: Instant) -> Spoken {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).spoken(stream, now)
    }
}

impl At<'_> {
    /// The stream over HTTP-FLV, from its newest keyframe.
    pub(crate) fn stream(&self, stream: &Id) -> String {
        let (at, token) = (self.way.reaches(self.addresses.http), self.jobs.token(stream));
        format!("http://{at}/{stream}/live.flv?{JOB_PARAM}={}", token.expose())
    }
}

impl Way {
    /// The address at which the worker reaches who listens at this one.
    fn reaches(self, listening: SocketAddr) -> SocketAddr {
        let ip = match listening.ip() {
            ip if !ip.is_unspecified() => ip,
            ip => self.host.unwrap_or(match ip {
                IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
                IpAddr::V6(_) => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
            }),
        };
        SocketAddr::new(ip, listening.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_introduces_itself_where_a_port_demands_it_of_this_machine() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let at = |http: &str, rtmp: &str, introduced| {
            let (http, rtmp) = (http.parse().unwrap(), rtmp.parse().unwrap());
            Addresses { http, rtmp, introduced }.introduction(Way::default())
        };
        let of_rtmp = Introduced { http: Vec::new(), rtmp: vec![network("127.0.0.0/8")] };
        assert_eq!(at("0.0.0.0:80", "0.0.0.0:1935", Introduced::default()), None);
        assert_eq!(at("0.0.0.0:80", "192.0.2.7:1935", of_rtmp.clone()), None);
        let introduced = Order::Introduce { http: false, rtmp: true };
        assert_eq!(at("0.0.0.0:80", "0.0.0.0:1935", of_rtmp), Some(introduced));
    }

    #[test]
    fn a_worker_reaches_who_listens_everywhere_on_this_machine() {
        let at = |text: &str| Way::default().reaches(text.parse().unwrap()).to_string();
        assert_eq!(at("0.0.0.0:1935"), "127.0.0.1:1935");
        assert_eq!(at("[::]:1935"), "[::1]:1935");
        assert_eq!(at("192.0.2.7:80"), "192.0.2.7:80");
    }

    #[test]
    fn a_worker_of_another_machine_reaches_what_listens_there_where_it_has_reached_the_node() {
        let way = Way { host: Some("192.0.2.7".parse().unwrap()), from: Some("198.51.100.9".parse().unwrap()) };
        let at = |text: &str| way.reaches(text.parse().unwrap()).to_string();
        assert_eq!(
            [at("0.0.0.0:1935"), at("[::]:80"), at("203.0.113.1:80")],
            ["192.0.2.7:1935", "192.0.2.7:80", "203.0.113.1:80"]
        );
        let introduced =
            Introduced { http: vec!["198.51.100.0/24".parse().unwrap()], rtmp: vec!["127.0.0.0/8".parse().unwrap()] };
        let addresses =
            Addresses { http: "0.0.0.0:80".parse().unwrap(), rtmp: "127.0.0.1:1935".parse().unwrap(), introduced };
        assert_eq!(addresses.introduction(way), Some(Order::Introduce { http: true, rtmp: false }));
        assert_eq!(addresses.ports(), [80, 1935]);
        assert_eq!(addresses.out_of_reach(way.host.unwrap()), Some(addresses.rtmp));
        assert_eq!(addresses.out_of_reach("127.0.0.1".parse().unwrap()), None);
    }
}
