//! Which of flags, file and defaults counts, and what does not go together.
use std::time::Duration;

use super::*;
use crate::settings::values;

fn settings() -> Settings {
    Settings {
        rtmp: Some(values::address("127.0.0.1:1").unwrap()),
        http: Some(values::address("127.0.0.1:2").unwrap()),
        shards: Some(Shards::Count(3)),
        data_dir: Some("from-file".into()),
        ..Settings::default()
    }
}

#[test]
fn flags_win_over_the_file_which_wins_over_defaults() {
    let engine = EngineFlags { rtmp: Some(values::address("[::1]:9").unwrap()), ..EngineFlags::default() };
    let flags = Flags { engine, auth: Some(AuthPreset::Open), ..Flags::default() };
    let layers = merge(flags, Settings { auth: Some(AuthPreset::Signed), ..settings() }).unwrap();
    assert_eq!(layers.config.rtmp.to_string(), "[::1]:9");
    assert_eq!(layers.config.http.to_string(), "127.0.0.1:2");
    assert_eq!((layers.config.control, layers.control.to_string()), (None, "127.0.0.1:8081".to_owned()));
    assert_eq!(layers.config.shards, 3);
    assert_eq!(layers.auth, AuthPreset::Open);
    assert_eq!(layers.data_dir, PathBuf::from("from-file"));
}

#[test]
fn defaults_are_those_of_the_contract() {
    let layers = merge(Flags::default(), Settings::default()).unwrap();
    assert_eq!(layers.config.rtmp.to_string(), "0.0.0.0:1935");
    assert_eq!(layers.config.http.to_string(), "0.0.0.0:8080");
    assert_eq!(layers.config.drain, Duration::from_secs(10));
    assert_eq!(layers.config.chunk_size, 60_000);
    assert_eq!(layers.auth, AuthPreset::Signed);
    assert_eq!(layers.config.stream, StreamConfig::default());
    assert_eq!(layers.config.hls, HlsConfig::default());
    assert!(layers.config.shards >= 1);
}

#[test]
fn parts_are_much_shorter_than_segments() {
    let check = |segment: Option<u64>, part: Option<u64>, good: bool| {
        let hls = HlsDefaults {
            segment: segment.map(Duration::from_millis),
            part: part.map(Duration::from_millis),
            window: None,
        };
        assert_eq!(
            merge(Flags::default(), Settings { hls, ..Settings::default() }).is_ok(),
            good,
            "{segment:?} {part:?}"
        );
    };
    check(None, None, true);
    check(Some(1_000), Some(500), true);
    check(Some(500), None, false);
    check(None, Some(1_001), false);
}

#[test]
fn two_listeners_do_not_share_a_port() {
    let check = |rtmp: &str, http: &str, good| {
        let set = |text| Some(values::address(text).unwrap());
        let layers = merge(Flags::default(), Settings { rtmp: set(rtmp), http: set(http), ..Settings::default() });
        assert_eq!(layers.is_ok(), good, "{rtmp} {http}");
    };
    check("127.0.0.1:5", "127.0.0.1:5", false);
    check("0.0.0.0:5", "127.0.0.1:5", false);
    check("[::]:5", "127.0.0.1:5", false);
    check("0.0.0.0:8081", "127.0.0.1:5", false);
    check("127.0.0.2:5", "127.0.0.1:5", true);
    check("127.0.0.1:0", "127.0.0.1:0", true);
}

#[test]
fn a_control_port_that_others_reach_has_to_be_asked_for() {
    let others = || Some(values::address("0.0.0.0:8081").unwrap());
    let engine = || EngineFlags { control: others(), ..EngineFlags::default() };
    let flags = |control_plain| Flags { engine: engine(), control_plain, ..Flags::default() };
    let refused = merge(flags(false), Settings::default()).unwrap_err().to_string();
    assert!(refused.contains("loopback") && refused.contains("--control-plain"), "{refused}");
    let asked = merge(flags(true), Settings::default()).unwrap();
    assert!(asked.warnings.iter().any(|warning| warning.contains("without TLS")), "{:?}", asked.warnings);
    let file = Settings { control: others(), control_plain: Some(true), ..Settings::default() };
    assert_eq!(merge(Flags::default(), file).unwrap().control.port(), 8081);
}

#[test]
fn a_node_has_a_control_and_its_token_is_not_told_in_the_clear() {
    let node = |url: Option<&str>, control_plain| {
        let control_url = url.map(str::to_owned);
        merge(Flags { role: Some(Role::Node), control_url, control_plain, ..Flags::default() }, Settings::default())
    };
    assert!(node(None, false).unwrap_err().to_string().contains("--control-url"));
    assert!(node(Some("http://192.0.2.1:8081"), false).unwrap_err().to_string().contains("not TLS"));
    assert!(node(Some("nonsense"), false).unwrap_err().to_string().contains("--control-url: this is not a URL"));
    for good in ["https://control.example.com", "http://127.0.0.1:8081", "http://localhost:8081", "http://[::1]:8081"] {
        assert!(node(Some(good), false).unwrap().warnings.is_empty(), "{good}");
    }
    assert!(node(Some("http://192.0.2.1"), true).unwrap().warnings[0].contains("not TLS"));
    let all = Settings { control_url: Some(values::control_url("https://a").unwrap()), ..Settings::default() };
    assert!(merge(Flags::default(), all).unwrap().warnings[0].contains("not in force"));
}

#[test]
fn rtmps_listens_by_itself_where_there_are_certificates() {
    let at = |port: u16| Listen::At(SocketAddr::from(([127, 0, 0, 1], port)));
    let merged = |tls: TlsSettings| merge(Flags::default(), Settings { tls, ..Settings::default() });
    let with = |tls: TlsSettings| TlsSettings { certificates: vec!["a.pem".into()], ..tls };
    let unset = merged(TlsSettings::default()).unwrap().tls;
    assert_eq!(unset, Tls { http2: true, ..Tls::default() });
    let usual = merged(with(TlsSettings::default())).unwrap().tls;
    assert_eq!(usual.rtmp.unwrap().to_string(), "0.0.0.0:1938");
    assert_eq!((usual.http, usual.control), (None, None));
    let set = |rtmp| TlsSettings { rtmp: Some(rtmp), ..TlsSettings::default() };
    assert_eq!(merged(with(set(Listen::Nowhere))).unwrap().tls.rtmp, None);
    assert_eq!(merged(with(set(at(5)))).unwrap().tls.rtmp.unwrap().port(), 5);
    let error = merged(with(TlsSettings { http: Some(at(1938)), ..TlsSettings::default() })).unwrap_err();
    assert!(error.to_string().contains("rtmp.tls_listen"), "{error}");
    let node = Flags {
        role: Some(Role::Node),
        control_url: Some("https://control.example.com".to_owned()),
        ..Flags::default()
    };
    let tls = TlsSettings { control: Some(at(5)), ..TlsSettings::default() };
    let warnings = merge(node, Settings { tls, ..Settings::default() }).unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.starts_with("control.tls_listen: set, but")), "{warnings:?}");
}

#[test]
fn what_open_does_not_check_is_said() {
    let legacy_keys = vec![Secret::new("hush")];
    let flags = Flags { auth: Some(AuthPreset::Open), key_file: Some(Secret::new("hush")), ..Flags::default() };
    let layers = merge(flags, Settings { legacy_keys, ..settings() }).unwrap();
    assert_eq!(layers.warnings.len(), 2);
    assert_eq!(layers.legacy_keys.len(), 2);
    assert!(!format!("{layers:?}").contains("hush"));
}
