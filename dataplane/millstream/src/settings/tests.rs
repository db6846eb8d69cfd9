//! What files say, and what is said about wrong ones: line, column, key, what to do.
use super::*;

fn read_text(text: &str) -> Result<Settings, SettingsError> {
    parse(Path::new("m.toml"), text.as_bytes())
}

/// The file is refused, with exactly this one line.
#[track_caller]
fn refused(text: &str, expected: &str) {
    assert_eq!(read_text(text).unwrap_err().to_string(), expected, "{text}");
}

/// The file is refused, with a line that starts so.
#[track_caller]
fn refused_at(text: &str, expected: &str) {
    let error = read_text(text).unwrap_err().to_string();
    assert!(error.starts_with(expected), "{text:?} gave {error}");
}

const WHOLE: &str = r#"
[node]
data_dir = "d"
shards = "auto"
io = "epoll"
drain = "0s"
role = "node"
name = "edge-1"
[rtmp]
listen = "[::]:1935"
handshake_timeout = "5s"
chunk_size = 4096
proxy_protocol_from = ["10.0.0.0/8", "::1"]
apps = ["live", "stream"]
[http]
listen = "0.0.0.0:8080"
header_timeout = "5s"
proxy_protocol_from = ["10.2.0.0/16"]
trusted_proxies = ["10.0.0.0/8", "fd00::/8"]
play_paths = ["/live/{id}.flv"]
[control]
listen = "127.0.0.1:8081"
names = ["Stream.example.org"]
plain = false
url = "https://control.example.com"
token_file = "t"
trusted_proxies = ["10.3.0.0/16"]
[webhooks]
allow = ["10.1.0.0/16"]
[auth]
preset = "signed"
legacy_keys = ["one", "two"]
[stream_defaults]
flush = "low"
log_max = "32MiB"
log_time = "20s"
publisher_wait = "1s"
on_unpublish = "slate"
slate = "clip/demo.flv"
slate_max = "2h"
takeover = "replace"
joiner_wait = "333ms"
lag_skips = 5
lag_window = "1m"
stall_close = "2s"
[hls]
segment = "4s"
part = "500ms"
window = 8
[limits]
memory = "2GiB"
connections = 10
per_address = 11
handshakes = 12
streams = 13
blocked = 14
[[stream]]
id = "cam1"
push_paths = ["live/my cam.1"]
play_paths = ["/live/cam.flv"]
[[stream]]
id = "cam2"
generation = 2
flush = "dense"
on_unpublish = "end"
hls = false
"#;

#[test]
fn a_whole_file() {
    let set = read_text(WHOLE).unwrap();
    assert_eq!(set.data_dir, Some("d".into()));
    assert_eq!((set.shards, set.io, set.drain), (Some(Shards::Auto), Some(IoChoice::Epoll), Some(Duration::ZERO)));
    assert_eq!((set.role, set.node_name.as_deref()), (Some(Role::Node), Some("edge-1")));
    assert_eq!(set.control_url.unwrap().to_string(), "https://control.example.com");
    assert_eq!(set.control_token_file, Some("t".into()));
    assert_eq!(set.rtmp.unwrap().to_string(), "[::]:1935");
    assert_eq!(set.chunk_size, Some(4096));
    assert_eq!(set.proxy_protocol_from, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!((set.apps.len(), set.apps[0].as_str()), (2, "live"));
    assert_eq!(set.http_proxy_protocol_from, ["10.2.0.0/16".parse().unwrap()]);
    assert_eq!(set.control_trusted_proxies, ["10.3.0.0/16".parse().unwrap()]);
    assert_eq!(set.trusted_proxies, ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
    assert_eq!(set.play_paths, [Pattern::new("/live/{id}.flv").unwrap()]);
    assert_eq!(set.auth, Some(AuthPreset::Signed));
    assert_eq!(set.legacy_keys, [Secret::new("one"), Secret::new("two")]);
    assert_eq!((set.stream.flush, set.stream.log_max), (Some(FlushPolicy::Low), Some(32 << 20)));
    assert_eq!((set.stream.lag_skips, set.stream.lag_window), (Some(5), Some(Duration::from_mins(1))));
    assert_eq!(set.stream.joiner_wait, Some(Duration::from_millis(333)));
    assert_eq!(set.stream.takeover, Some(Takeover::Replace));
    assert_eq!(
        (set.stream.on_unpublish, set.stream.slate_max),
        (Some(OnUnpublish::Slate), Some(Duration::from_hours(2)))
    );
    assert_eq!(set.stream.slate.unwrap().clip.frames.len(), 1_247);
    assert_eq!(set.memory, Some(2 << 30));
    let limits = (set.connections, set.per_address, set.handshakes, set.streams_max);
    assert_eq!((limits, set.blocked), ((Some(10), Some(11), Some(12), Some(13)), Some(14)));
    assert_eq!((set.hls.segment, set.hls.part), (Some(Duration::from_secs(4)), Some(Duration::from_millis(500))));
    assert_eq!(set.hls.window, Some(8));
    let [one, two] = &set.streams[..] else { panic!("{:?}", set.streams) };
    assert_eq!((one.id.as_str(), one.generation, two.id.as_str(), two.generation), ("cam1", None, "cam2", Some(2)));
    assert_eq!(one.settings.texts("push_paths"), ["live/my cam.1"]);
    assert_eq!(one.settings.texts("play_paths"), ["/live/cam.flv"]);
    assert_eq!((two.settings.text("flush"), two.settings.text("on_unpublish")), ("dense", "end"));
    assert_eq!((two.settings.on("isHls"), two.settings.on("isCMAF"), two.settings.on("isFlv")), (false, true, true));
    assert!(set.warnings.is_empty());
}

/// Every example of the document is a file that is taken.
#[test]
fn the_examples_of_moving_over_are_true() {
    let text = include_str!("../../../../docs/migrate.md");
    let examples: Vec<&str> =
        text.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(toml, _)| toml).collect();
    assert_eq!(examples.len(), 6);
    for example in examples {
        let set = read_text(example).unwrap();
        assert!(set.warnings.is_empty(), "{example}");
    }
    for (pattern, from) in text.split("play_paths = [").skip(3).zip(1..) {
        for text in pattern.split_once(']').unwrap().0.split(", ") {
            Pattern::new(text.trim_matches('"')).unwrap_or_else(|error| panic!("{from}: {text}: {error}"));
        }
    }
}

/// Streams of the file have the API's settings, by the API's names and within its ranges.
#[test]
fn entries_take_what_the_api_takes() {
    let text =
        "[[stream]]\nid = \"a\"\nhls_time = 4\nhls_list_size = 7\nisCMAF = false\nlabels = { site = \"lobby\" }\n";
    let set = read_text(text).unwrap();
    let settings = &set.streams[0].settings;
    assert_eq!((settings.get("hls_time"), settings.get("hls_list_size")), (&4.into(), &7.into()));
    assert!(!settings.on("isCMAF") && settings.get("labels")["site"] == "lobby");
    let stream = |line: &str, part: &str| refused_at(&format!("[[stream]]\nid = \"a\"\n{line}\n"), part);
    stream("hls_time = 61", "m.toml:3:12: stream.hls_time: give a whole number, 1 to 60");
    stream("hls = 1", "m.toml:3:7: stream.hls: this is a number; give true or false");
    stream("flush = \"lo\"", "m.toml:3:9: stream.flush: give one of");
    stream("hls = true\nisHls = true", "m.toml:3:7: stream.hls: this is isHls, which is here too");
    stream("labels = { a = 1.5 }", "m.toml:3:10: stream.labels: this is a number with a fraction");
}

#[test]
fn case_56_a_path_leads_to_one_stream() {
    refused(
        "[[stream]]\nid = \"a\"\npush_paths = [\"live/x\"]\n[[stream]]\nid = \"b\"\npush_paths = [\"live/x\"]\n",
        "m.toml:6:14: stream.push_paths: item 1: another entry has this path already",
    );
    refused_at(
        "[[stream]]\nid = \"a\"\nplay_paths = [\"/a/live.flv\"]\n",
        "m.toml:3:14: stream.play_paths: item 1: this server",
    );
    refused_at("[http]\nplay_paths = [\"/live/x.flv\"]\n", "m.toml:2:14: http.play_paths: item 1: a pattern has {id}");
    refused_at("[rtmp]\napps = []\n", "m.toml:2:8: rtmp.apps: the list is empty");
    refused_at("[rtmp]\napps = [\"a/b\"]\n", "m.toml:2:8: rtmp.apps: item 1: the name has a character");
}

#[test]
fn a_slate_is_read_and_checked_with_the_file() {
    refused_at(
        "[stream_defaults]\nslate = \"nowhere.flv\"\n",
        "m.toml:2:9: stream_defaults.slate: nowhere.flv: No such file",
    );
    let entry = "[[stream]]\nid = \"a\"\nslate = \"Cargo.toml\"\n";
    refused_at(entry, "m.toml:3:9: stream.slate: Cargo.toml: this is neither an MP4 file nor an FLV file");
    let word = "m.toml:2:16: stream_defaults.on_unpublish: \"slat\" is none of the choices (did you mean \"slate\"?)";
    refused_at("[stream_defaults]\non_unpublish = \"slat\"\n", word);
}

#[test]
fn an_empty_file_sets_nothing() {
    for text in ["", "# nothing\n", "\u{feff}", "[node]\n[stream_defaults]\n"] {
        let set = read_text(text).unwrap();
        assert!(set.shards.is_none() && set.streams.is_empty() && set.warnings.is_empty());
    }
}

#[test]
fn whole_numbers_of_shards() {
    assert_eq!(read_text("[node]\nshards = 4\n").unwrap().shards, Some(Shards::Count(4)));
    refused("[node]\nshards = 0\n", "m.toml:2:10: node.shards: 0 is out of range; give a whole number, 1 to 256");
    refused("node.shards = -1", "m.toml:1:15: node.shards: -1 is out of range; give a whole number, 1 to 256");
}

#[test]
fn keys_that_are_not_known() {
    refused(
        "[node]\n  shard = 1\n",
        "m.toml:2:3: node.shard: unknown key (did you mean shards?); remove it, or use one of node: data_dir, shards, io, drain, role, name",
    );
    refused_at("[streem]\nflush = \"low\"\n", "m.toml:1:2: streem: unknown table (did you mean stream?)");
    refused_at("lag_skips = 3", "m.toml:1:1: lag_skips: unknown table; the tables are: node,");
    refused_at("[[stream]]\nid = \"a\"\nname = \"x\"\n", "m.toml:3:1: stream.name: unknown key");
    refused_at("[node]\n\"a\\u001b[31m\" = 1\n", "m.toml:2:1: node.a\\u{1b}[31m: unknown key");
}

#[test]
fn values_of_the_wrong_type() {
    refused(
        "[node]\ndrain = 10",
        "m.toml:2:9: node.drain: this is a whole number; give text in quotes, such as \"10s\" or \"333ms\"",
    );
    refused(
        "[stream_defaults]\nlag_skips = \"3\"",
        "m.toml:2:13: stream_defaults.lag_skips: this is text; give a whole number, 1 to 1000",
    );
    refused(
        "[stream_defaults]\nlag_skips = 1.5",
        "m.toml:2:13: stream_defaults.lag_skips: this is a number with a fraction; give a whole number, 1 to 1000",
    );
    refused("node = 1", "m.toml:1:8: node: this is a table; write [node] on a line, and its keys below");
    refused(
        "[auth]\nlegacy_keys = \"hush\"",
        "m.toml:2:15: auth.legacy_keys: this is text; give a list in brackets, such as [\"...\", \"...\"]",
    );
    refused_at("stream = [1]", "m.toml:1:10: stream: this is a list of tables; write [[stream]] on a line");
}

#[test]
fn values_out_of_range() {
    let stream =
        |line: &str, part: &str| refused_at(&format!("[stream_defaults]\n{line}\n"), &format!("m.toml:2:{part}"));
    stream("lag_skips = 0", "13: stream_defaults.lag_skips: 0 is out of range; give a whole number, 1 to 1000");
    stream("log_max = \"1KiB\"", "11: stream_defaults.log_max: \"1KiB\" is out of range; give 1MiB to 1GiB");
    stream("log_max = \"16\"", "11: stream_defaults.log_max: \"16\" is not a size");
    stream("flush = \"lwo\"", "9: stream_defaults.flush: \"lwo\" is none of the choices");
    stream("stall_close = \"10ms\"", "15: stream_defaults.stall_close: \"10ms\" is out of range; give 1s to 10m");
    refused_at(
        "[rtmp]\nchunk_size = 127",
        "m.toml:2:14: rtmp.chunk_size: 127 is out of range; give a whole number, 128 to 65536",
    );
    refused_at("[rtmp]\nchunk_size = 65537", "m.toml:2:14: rtmp.chunk_size: 65537 is out of range");
    refused_at(
        "[rtmp]\nlisten = \":port\"",
        "m.toml:2:10: rtmp.listen: \":port\" is not an address; give an IP address",
    );
    let proxies = |list: &str, part: &str| {
        refused_at(
            &format!("[rtmp]\nproxy_protocol_from = {list}"),
            &format!("m.toml:2:23: rtmp.proxy_protocol_from: {part}"),
        );
    };
    proxies("\"10.0.0.0/8\"", "this is text; give a list in brackets, such as [\"...\", \"...\"]");
    proxies("[\"::1\", \"lb.local\"]", "item 2: \"lb.local\" is not a network: not an IP address; give an address");
    proxies(
        "[\"10.0.0.1/8\"]",
        "item 1: \"10.0.0.1/8\" is not a network: the address has bits behind its prefix; the network is 10.0.0.0/8",
    );
    refused_at(
        "[control]\nplain = \"yes\"",
        "m.toml:2:9: control.plain: this is text; give true or false, without quotes",
    );
    refused_at("[control]\nnames = [\"a b\"]", "m.toml:2:9: control.names: item 1: \"a b\" is not a name");
    refused_at(
        "[limits]\nconnections = 99999999999999999999",
        "m.toml:2:15: limits.connections: 99999999999999999999 is out",
    );
}

#[test]
fn streams_are_named_once_and_rightly() {
    refused("[[stream]]\ngeneration = 1", "m.toml:1:1: stream.id: missing; give every [[stream]] an id");
    refused_at(
        "[[stream]]\nid = \"../x\"",
        "m.toml:2:6: stream.id: the name has a character that is not allowed at byte 0",
    );
    refused(
        "[[stream]]\nid = \"a\"\n[[stream]]\nid = \"a\"",
        "m.toml:4:6: stream.id: a is there twice; keep one of the two entries",
    );
    refused_at("[[stream]]\nid = \"a\"\ngeneration = 0", "m.toml:3:14: stream.generation: 0 is out of range");
}

#[test]
fn text_that_is_not_toml() {
    refused_at("[node]\nshards = \n", "m.toml:2:10: this is not TOML: ");
    refused_at("[node\n", "m.toml:1:6: this is not TOML: ");
    refused_at("[node]\nio = \"epoll\"\nio = \"uring\"", "m.toml:3:1: this is not TOML: duplicate key");
    let error = parse(Path::new("m.toml"), b"[node]\nio = \"\xff\"").unwrap_err().to_string();
    assert_eq!(error, "m.toml:2:7: this is not UTF-8 text; save the file as UTF-8, or give another file");
    let error = parse(Path::new("m.toml"), b"\x7fELF\x02\x01\x01\0\0\0").unwrap_err().to_string();
    assert_eq!(error, "m.toml:1:1: this is a binary file (it holds a control character); give a TOML file");
}

#[test]
fn columns_count_characters() {
    refused_at("[node]\n\"日本\" = { x = 1 }\nio = \"é\"; z", "m.toml:3:9: this is not TOML");
    refused_at("node = { \"日本\" = 1 }", "m.toml:1:10: node.日本: unknown key");
    refused_at("node = { data_dir = \"日本\", io = 1 }", "m.toml:1:32: node.io: this is a whole number");
}

#[test]
fn all_errors_at_once_in_the_order_of_the_text() {
    let error = read_text("[http]\nlisten = 1\n[node]\nio = \"x\"\nfoo = 1\n").unwrap_err().to_string();
    let lines: Vec<_> = error.lines().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, ["m.toml:2:10 http.listen", "m.toml:4:6 node.io", "m.toml:5:1 node.foo"]);
}

#[test]
fn grants_have_a_life_a_key_and_edges() {
    let set =
        read_text("[auth]\ngrant_life = \"30s\"\ngrant_generation = 3\nedge_secret = \"0123456789abcdef\"").unwrap();
    assert_eq!((set.grants.life, set.grants.generation), (Some(Duration::from_secs(30)), Some(3)));
    assert_eq!(set.grants.edge_secrets, [Secret::new("0123456789abcdef")]);
    let set = read_text("[auth]\nedge_secret = [\"0123456789abcdef\", \"fedcba9876543210\"]").unwrap();
    assert_eq!(set.grants.edge_secrets.len(), 2);
    assert!(read_text("[auth]\nedge_secret = \"\"").unwrap().grants.edge_secrets.is_empty());
    refused_at(
        "[auth]\nedge_secret = \"short\"",
        "m.toml:2:15: auth.edge_secret: a secret needs at least 16 characters",
    );
    refused_at(
        "[auth]\nedge_secret = \"with a space in it\"",
        "m.toml:2:15: auth.edge_secret: a secret is the value of",
    );
    refused_at("[auth]\ngrant_life = \"1s\"", "m.toml:2:14: auth.grant_life: ");
    refused_at("[auth]\ngrant_generation = 0", "m.toml:2:20: auth.grant_generation: ");
    refused_at("[hls]\nsegment = 2", "m.toml:2:11: hls.segment: this is a whole number");
}

#[test]
fn secrets_are_not_repeated() {
    for text in [
        "[auth]\nlegacy_keys = [\"hush\", 1]",
        "[auth]\nlegacy_keys = [\"hush\"",
        "[auth]\nlegacy_keys = \"hush\"",
        "[auth]\nlegacy_keys = [\"hush]",
        "[auth]\nedge_secret = [\"hush\"]",
        "[auth]\nedge_secret = hush",
        "[auth]\nedge_secret = \"hush\" \"hush\"",
    ] {
        let error = read_text(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
    }
    refused_at("[auth]\nlegacy_keys = [\"hush\", \"\"]", "m.toml:2:15: auth.legacy_keys: item 2: the key is empty");
    let set = read_text("[auth]\nlegacy_keys = [\"hush\"]\nedge_secret = \"hush-hush-hush-hush\"").unwrap();
    assert!(!format!("{set:?}").contains("hush"));
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.toml");
    assert!(read(&missing).unwrap_err().to_string().starts_with(&format!("{}: cannot be read: ", missing.display())));
    assert!(matches!(read(dir.path()), Err(SettingsError::Unreadable { .. })));
    let large = dir.path().join("large.toml");
    std::fs::write(&large, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(matches!(read(&large), Err(SettingsError::Large { .. })));
}

#[test]
fn public_urls_are_a_scheme_a_host_and_perhaps_a_port() {
    let public = |text: &str| read_text(text).unwrap().public;
    let said = public(
        "[rtmp]\npublic_url = \"rtmps://push.example.org:1936\"\n[http]\npublic_url = \"https://[2001:db8::1]/\"\n[control]\npublic_url = \"\"\n",
    );
    assert_eq!(said.rtmp.as_deref(), Some("rtmps://push.example.org:1936"));
    assert_eq!((said.http.as_deref(), said.control), (Some("https://[2001:db8::1]"), None));
    for (key, wrong) in [
        ("rtmp", "https://push.example.org"),
        ("rtmp", "push.example.org"),
        ("rtmp", "rtmp://push.example.org/stream"),
        ("rtmp", "rtmp://"),
        ("http", "https://user@host"),
        ("http", "https://host:0"),
        ("http", "https://host:x"),
        ("control", "https://a b"),
        ("control", "https://[nonsense]"),
    ] {
        let text = format!("[{key}]\npublic_url = \"{wrong}\"\n");
        let error = read_text(&text).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("m.toml:2:14: {key}.public_url: give ")), "{wrong} gave {error}");
    }
}
