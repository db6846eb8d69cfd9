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

impl Addresses {
    /// What a worker of this machine has to be told first.
    pub(crate) fn introduction(&self) -> Option<Order> {
        let is_of = |networks: &[Network], at| networks.iter().any(|network| network.contains(reachable(at).ip()));
        let (http, rtmp) = (is_of(&self.introduced.http, self.http), is_of(&self.introduced.rtmp, self.rtmp));
        (http || rtmp).then_some(Order::Introduce { http, rtmp })
    }
}

/// The node's own ports.
pub(crate) struct At<'a> {
    pub(crate) addresses: &'a Addresses,
    /// The application that publishers name.
    pub(crate) app: &'a str,
    pub(crate) jobs: &'a JobKey,
    pub(crate) marks: &'a Mutex<Marks>,
}

impl Places for At<'_> {
    fn source(&self, stream: &Id) -> SecretUrl {
        SecretUrl::new(format!("{}&{BEHIND_PARAM}=1", self.stream(stream)))
    }

    fn push(&self, rendition: &Id) -> SecretUrl {
        let (at, token) = (reachable(self.addresses.rtmp), self.jobs.token(rendition));
        SecretUrl::new(format!("rtmp://{at}/{}/{rendition}?{JOB_PARAM}={}", self.app, token.expose()))
    }

    fn marks(&self, stream: &Id, now: Instant) -> Spoken {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).spoken(stream, now)
    }
}

impl At<'_> {
    /// The stream over HTTP-FLV, from its newest keyframe.
    pub(crate) fn stream(&self, stream: &Id) -> String {
        let (at, token) = (reachable(self.addresses.http), self.jobs.token(stream));
        format!("http://{at}/{stream}/live.flv?{JOB_PARAM}={}", token.expose())
    }
}

/// The address at which a process of this machine reaches who listens at this one.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_introduces_itself_where_a_port_demands_it_of_this_machine() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let at = |http: &str, rtmp: &str, introduced| {
            let (http, rtmp) = (http.parse().unwrap(), rtmp.parse().unwrap());
            Addresses { http, rtmp, introduced }.introduction()
        };
        let of_rtmp = Introduced { http: Vec::new(), rtmp: vec![network("127.0.0.0/8")] };
        assert_eq!(at("0.0.0.0:80", "0.0.0.0:1935", Introduced::default()), None);
        assert_eq!(at("0.0.0.0:80", "192.0.2.7:1935", of_rtmp.clone()), None);
        let introduced = Order::Introduce { http: false, rtmp: true };
        assert_eq!(at("0.0.0.0:80", "0.0.0.0:1935", of_rtmp), Some(introduced));
    }

    #[test]
    fn a_worker_reaches_who_listens_everywhere_on_this_machine() {
        let at = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(at("0.0.0.0:1935"), "127.0.0.1:1935");
        assert_eq!(at("[::]:1935"), "[::1]:1935");
        assert_eq!(at("192.0.2.7:80"), "192.0.2.7:80");
    }
}
