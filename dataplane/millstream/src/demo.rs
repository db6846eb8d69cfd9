//! `millstream demo`: the server with defaults, open to anyone, and a publisher of its own that pushes the built-in clip. Before it:
//! [`crate::cli`]; after it: what [`crate::serve`] does too.
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use millstream_engine::Addresses;
use millstream_policy::preset::{Preset, preset};

use crate::cli::{DemoFlags, Failure};
use crate::layers::{self, Flags};
use crate::settings::Settings;
use crate::settings::values::AuthPreset;
use crate::{logging, serve};

mod clip;
mod publisher;

/// The id of the built-in stream.
const DEMO_ID: &str = "demo";

/// Serves and publishes until a signal has ended it. Writes nothing to disk.
pub(crate) fn run(flags: DemoFlags) -> Result<(), Failure> {
    let _log = logging::start()?;
    let flags = Flags { engine: flags.engine, auth: Some(AuthPreset::Open), ..Flags::default() };
    let mut layers = layers::merge(flags, Settings::default()).map_err(Failure::Configuration)?;
    // There is no API in a demo: it would have a token, on disk. The engine shows its numbers by itself.
    layers.config.control = Some(layers.control);
    let clip = clip::Clip::embedded().map_err(Failure::running)?;
    let signals = serve::signals()?;
    let engine = serve::start(layers.config, preset(Preset::Open)).map_err(advise)?;
    let banner = banner(engine.addresses());
    let server = reachable(engine.addresses().rtmp);
    let publisher = publisher::start(server, clip)
        .context("cannot start the thread that publishes the test stream")
        .map_err(Failure::Running)?;
    // Whoever closed standard output does not want to read this; the demo runs on.
    drop(std::io::stdout().write_all(banner.as_bytes()));
    let stop = publisher.clone();
    let ended = serve::wait(engine, signals, move || stop.stop());
    publisher.stop();
    ended
}

/// Most often a port is taken, and whoever tries a demo has not chosen it.
fn advise(failure: Failure) -> Failure {
    let advice = "the demo could not start; if a port is taken, choose others (0 picks a free one): \
                  millstream demo --rtmp 127.0.0.1:0 --http 127.0.0.1:0 --control 127.0.0.1:0";
    match failure {
        Failure::Running(error) => Failure::Running(error.context(advice)),
        other @ Failure::Configuration(_) => other,
    }
}

/// An address that a client on this machine can use for a listener.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

fn banner(addresses: &Addresses) -> String {
    let (rtmp, http) = (reachable(addresses.rtmp), reachable(addresses.http));
    let mut text = String::new();
    let lines = [
        String::new(),
        "A test stream is on air. Open one of these:".to_owned(),
        String::new(),
        format!("  page  http://{http}/{DEMO_ID}/flv.html"),
        format!("  play  http://{http}/{DEMO_ID}/live.flv"),
        format!("        rtmp://{rtmp}/stream/{DEMO_ID}"),
        format!("  push  rtmp://{rtmp}/stream/YOUR-ID, then play it under YOUR-ID as above"),
        String::new(),
        "  ANYONE WHO REACHES THIS MACHINE MAY PUSH: this is a demo. `millstream serve` checks signatures.".to_owned(),
        "  Ctrl-C ends it.".to_owned(),
        String::new(),
    ];
    for line in lines {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_has_urls_that_a_client_can_use() {
        let address = |text: &str| text.parse().unwrap();
        let banner = banner(&Addresses {
            rtmp: address("0.0.0.0:1935"),
            http: address("[::]:8080"),
            control: Some(address("127.0.0.1:8081")),
        });
        for part in [
            "http://[::1]:8080/demo/flv.html",
            "http://[::1]:8080/demo/live.flv",
            "rtmp://127.0.0.1:1935/stream/demo",
            "ANYONE WHO REACHES THIS MACHINE MAY PUSH",
        ] {
            assert!(banner.contains(part), "{banner}");
        }
    }
}
