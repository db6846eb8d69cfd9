//! The engine's configuration in a walk, and its weather: what the made-up system does to it.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use millstream_engine_simulated::config::{Config, Limits};
use millstream_engine_simulated::io::Weather;
use millstream_engine_simulated::slates::{SlateKey, Slates};
use millstream_policy::signed::Apps;
use millstream_proto::id::Id;
use millstream_proto::media::Clip;
use millstream_proto::network::Network;
use millstream_test_support::random::Random;

use crate::media::slate_file;
use crate::plan::{Settings, Way};

pub(crate) fn weather(random: &mut Random, settings: &Settings) -> Weather {
    Weather {
        timer_late_us: random.pick(&[0, 1_000, 5_000]),
        mail_us: settings.mail_us.max(1),
        mail_slow: random.pick(&[0, 5, 50]),
        mailbox_max: if random.chance(500) { usize::MAX } else { settings.mailbox_max },
        descriptors_max: random.pick(&[usize::MAX, usize::MAX, 12, 5]),
        hiccups: random.pick(&[0, 0, 1, 5]),
        lost_batches: random.pick(&[0, 0, 0, 20]),
    }
}

pub(crate) fn config(settings: &Settings) -> Config {
    let at = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let network = |address: IpAddr| address.to_string().parse::<Network>().expect("a network");
    let (introducer, forwarder) = (network(Way::Introduced.address()), network(Way::Forwarded.address()));
    Config {
        shards: settings.shards,
        tls: Some(crate::secured::config(at(1938), at(8443))),
        drain: settings.drain,
        proxy_protocol_from: vec![introducer],
        http_proxy_protocol_from: vec![introducer],
        trusted_proxies: vec![forwarder],
        apps: Apps::new([Id::new("stream").expect("an id")]),
        chunk_size: settings.chunk_size,
        stream: settings.stream,
        slates: slates(),
        hls: settings.hls,
        limits: Limits { streams: settings.streams_max, ..Limits::default() },
        ..Config::at(at(1935), at(8080))
    }
}

/// The clip that streams show while their publisher is away.
fn slates() -> Slates {
    let key = SlateKey([1; 32]);
    let mut slates = Slates::new(Some(key));
    slates.insert(key, Arc::new(Clip::read(&slate_file()).expect("a clip")));
    slates
}
