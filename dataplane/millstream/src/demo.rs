//! `millstream demo`: the server with defaults, open to anyone, and a publisher of its own that pushes the built-in clip. Before it:
//! [`crate::cli`]; after it: what [`crate::serve`] does too.
use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use std::time::Duration;

use anyhow::Context as _;
use millstream_engine::Addresses;
use millstream_engine::config::MoreMetrics;
use millstream_policy::preset::{Preset, preset};
use millstream_proto::sign::grant::GrantKeys;
use nix::net::if_::InterfaceFlags;
use tracing::warn;

use self::hook::DemoHook;
use crate::cli::{DemoFlags, Failure};
use crate::layers::{self, Flags};
use crate::settings::values::AuthPreset;
use crate::settings::{LogSettings, Settings};
use crate::{keys, logging, own_metrics, serve};

mod clip;
#[cfg_attr(not(feature = "hooks"), path = "demo/no_hook.rs")]
mod hook;
mod publisher;

/// The id of the built-in stream.
const DEMO_ID: &str = "demo";
/// How long the banner waits for the stream to be on air and for the log lines that were first: it is the last thing on the screen.
const ON_AIR_WAIT: Duration = Duration::from_secs(2);
const LOG_WAIT: Duration = Duration::from_millis(500);
/// Addresses that the banner lists at most: a machine with containers has dozens.
const ADDRESSES_SHOWN_MAX: usize = 8;

/// Serves and publishes until a signal has ended it. Writes nothing to disk, but for the compiled form of a hook, which is gone when it ends.
pub(crate) fn run(flags: DemoFlags) -> Result<(), Failure> {
    let _log = logging::start(&logging::Wanted::merge(&flags.engine.log, &LogSettings::default()))?;
    let hook_flags = flags.hook;
    let flags = Flags { engine: flags.engine, auth: Some(AuthPreset::Open), ..Flags::default() };
    let given = [flags.engine.rtmp, flags.engine.http, flags.engine.control];
    let mut layers = layers::merge(flags, Settings::default()).map_err(Failure::Configuration)?;
    // There is no API in a demo: it would have a token, on disk. The engine shows its numbers by itself.
    layers.config.control = Some(layers.control);
    let usual = [Some(&mut layers.config.rtmp), Some(&mut layers.config.http), layers.config.control.as_mut()];
    for (address, given) in usual.into_iter().zip(given) {
        if let (Some(address), None) = (address, given) {
            take_free_port(address);
        }
    }
    layers.config.grants.keys = Some(GrantKeys::new(&keys::passing().map_err(Failure::Running)?, 1));
    layers.config.more_metrics = Some(MoreMetrics::new(own_metrics::text));
    let clip = clip::Clip::embedded().map_err(Failure::running)?;
    let signals = serve::running::signals()?;
    let shards = layers.shards;
    let base = preset(Preset::Open);
    let (hook, chain) = DemoHook::bind(&hook_flags, (DEMO_ID, shards), &base)?.unzip();
    let engine = serve::running::start(layers.config, chain.unwrap_or(base)).map_err(advise)?;
    if let Some(hook) = &hook {
        hook.decide_for(engine.remote());
    }
    let server = reachable(engine.addresses().rtmp);
    let (publisher, on_air) = publisher::start(server, clip)
        .context("cannot start the thread that publishes the test stream")
        .map_err(Failure::Running)?;
    let banner = banner(engine.addresses(), &own_addresses(), hook.as_ref().map(DemoHook::shown));
    // Late, it is printed all the same: the log says why.
    let _ = on_air.recv_timeout(ON_AIR_WAIT);
    logging::wait_until_written(LOG_WAIT);
    // Whoever closed standard output does not want to read this; the demo runs on.
    drop(std::io::stdout().write_all(banner.as_bytes()));
    let stop = publisher.clone();
    let ended = serve::running::wait(engine, signals, move || stop.stop(), None);
    publisher.stop();
    ended
}

/// A port that nobody asked for and that another server has (most often the installed service) gives way to a free one.
fn take_free_port(address: &mut SocketAddr) {
    let taken = TcpListener::bind(*address).is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
    if taken {
        warn!(%address, "another server has this port: the demo takes a free one");
        address.set_port(0);
    }
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

/// The addresses of this machine that others may reach: of all interfaces that are up, without loopback and link-local ones (these need
/// the name of an interface beside them, which browsers do not take).
fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let up = interfaces.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
    let mut addresses: Vec<IpAddr> = up
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .filter(|ip| match ip {
            IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
            IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
        })
        .collect();
    // IPv4 first: that is what people can read out to each other.
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.dedup();
    addresses
}

/// Those of `own` that lead to a listener.
fn reachable_by_others(listener: SocketAddr, own: &[IpAddr]) -> Vec<SocketAddr> {
    let leads = |ip: &&IpAddr| match listener.ip() {
        // An IPv6 listener on all addresses takes IPv4, too.
        IpAddr::V6(any) if any.is_unspecified() => true,
        IpAddr::V4(any) if any.is_unspecified() => ip.is_ipv4(),
        one => **ip == one,
    };
    own.iter().filter(leads).map(|ip| SocketAddr::new(*ip, listener.port())).collect()
}

fn banner(addresses: &Addresses, own: &[IpAddr], hook: Option<&str>) -> String {
    let (rtmp, http) = (reachable(addresses.rtmp), reachable(addresses.http));
    let others = reachable_by_others(addresses.http, own);
    let mut lines = vec![
        String::new(),
        "A test stream is on air. Open it in a browser:".to_owned(),
        String::new(),
        format!("  http://{http}/{DEMO_ID}/index.html"),
    ];
    let shown = others.iter().filter(|other| **other != http).take(ADDRESSES_SHOWN_MAX);
    let mut from_others: Vec<String> = shown.map(|other| format!("  http://{other}/{DEMO_ID}/index.html")).collect();
    if !from_others.is_empty() {
        lines.extend([String::new(), "or, from other machines (if no firewall is between):".to_owned(), String::new()]);
        lines.append(&mut from_others);
    }
    lines.extend([
        String::new(),
        "Other ways to play it, in VLC, ffplay or a player of yours:".to_owned(),
        String::new(),
        format!("  HTTP-FLV   http://{http}/{DEMO_ID}/live.flv"),
        format!("  WebSocket  ws://{http}/{DEMO_ID}/live.flv"),
        format!("  HLS        http://{http}/{DEMO_ID}/live.m3u8"),
        format!("  DASH       http://{http}/{DEMO_ID}/manifest.mpd"),
        format!("  RTMP       rtmp://{rtmp}/stream/{DEMO_ID}"),
        String::new(),
        "Push a stream of your own:".to_owned(),
        String::new(),
        format!(
            "  ffmpeg -re -i video.mp4 -c:v libx264 -tune zerolatency -g 60 -c:a aac -f flv rtmp://{rtmp}/stream/mine"
        ),
        format!("  OBS: Settings, Stream, Service Custom, Server rtmp://{rtmp}/stream, Stream Key mine"),
        format!("  and open http://{http}/mine/index.html"),
        String::new(),
    ]);
    lines.extend(hook.map(|hook| format!("The hook {hook} decides who plays {DEMO_ID}.")));
    lines.extend([
        "ANYONE WHO REACHES THIS MACHINE MAY PUSH: this is a demo. `millstream serve` checks signatures.".to_owned(),
        "Ctrl-C ends it.".to_owned(),
        String::new(),
    ]);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(rtmp: &str, http: &str) -> Addresses {
        let address = |text: &str| text.parse().unwrap();
        Addresses {
            rtmp: address(rtmp),
            http: address(http),
            rtmps: None,
            https: None,
            control: Some(address("127.0.0.1:8081")),
        }
    }

    #[test]
    fn the_banner_has_urls_that_a_client_can_use_and_the_page_first() {
        let own = ["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        let text = banner(&addresses("0.0.0.0:1935", "[::]:8080"), &own, None);
        for part in [
            "http://[::1]:8080/demo/index.html",
            "http://192.0.2.7:8080/demo/index.html",
            "http://[2001:db8::7]:8080/demo/index.html",
            "http://[::1]:8080/demo/live.flv",
            "ws://[::1]:8080/demo/live.flv",
            "http://[::1]:8080/demo/live.m3u8",
            "http://[::1]:8080/demo/manifest.mpd",
            "rtmp://127.0.0.1:1935/stream/demo",
            "ANYONE WHO REACHES THIS MACHINE MAY PUSH",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let first = text.split_whitespace().find(|word| word.contains("://")).unwrap();
        assert_eq!(first, "http://[::1]:8080/demo/index.html");
    }

    #[test]
    fn the_banner_lists_only_what_the_listener_takes() {
        let own = ["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        let local = banner(&addresses("127.0.0.1:1935", "127.0.0.1:8080"), &own, None);
        let decided = banner(&addresses("127.0.0.1:1935", "127.0.0.1:8080"), &own, Some("door 0.1.0"));
        assert!(
            !local.contains("The hook") && decided.contains("The hook door 0.1.0 decides who plays demo."),
            "{decided}"
        );
        assert!(!local.contains("other machines") && !local.contains("192.0.2.7"), "{local}");
        let v4 = banner(&addresses("0.0.0.0:1935", "0.0.0.0:8080"), &own, None);
        assert!(v4.contains("http://192.0.2.7:8080/") && !v4.contains("2001:db8::7"), "{v4}");
        let one = banner(&addresses("192.0.2.7:1935", "192.0.2.7:8080"), &own, None);
        assert!(!one.contains("other machines") && one.contains("http://192.0.2.7:8080/demo/index.html"), "{one}");
    }

    #[test]
    fn own_addresses_are_those_that_others_can_reach() {
        assert!(own_addresses().iter().all(|ip| !ip.is_loopback()));
    }
}
