//! Play grants: a protected stream by `/g/<grant>/<id>/`, from the server itself, through nginx, through the CloudFront Function under Node, and on our
//! pages in headless Chromium.
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use millstream_tests::cdn::{self, Cache};
use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::flv::Tag;
use millstream_tests::hls::follow::{Following, Plan};
use millstream_tests::http::{self, Response, Viewer};
use millstream_tests::raw;
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server, millstream};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, millis, seconds};
use serde_json::{Value, json};

use crate::access::{SECRET, token};
use crate::hls::sound;

const EDGE_SECRET: &str = "edge-0123456789abcdef";

/// A server whose streams are played with a token, and `cam` on it.
fn protected(life: &str, more: &str) -> (Server, Pushing) {
    let config = format!(
        "[auth]\ngrant_life = \"{life}\"\n{more}\n[[auth.steps]]\nname = \"tokens\"\nkind = \"jwt\"\npoint = \"play\"\nleeway = \"0s\"\n\
         keys = [{{ kid = \"a\", secret = \"{SECRET}\" }}]\n"
    );
    let server = Options::open().config(&config).start();
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    (server, push)
}

fn edges() -> String {
    format!("edge_secret = \"{EDGE_SECRET}\"")
}

fn post(at: SocketAddr, path: &str) -> Response {
    http::request(at, "POST", path).expect("an answer")
}

/// A grant as the server made it.
fn grant_of(at: SocketAddr, id: &str, more: &str) -> Value {
    let token = token(id, "play", 600);
    let answer = post(at, &format!("/{id}/grant?token={token}{more}"));
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{body}");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    serde_json::from_str(&body).expect("JSON")
}

fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of[field].as_str().expect("a text")
}

fn body(at: SocketAddr, path: &str) -> String {
    eventually(path, seconds(10), || {
        let answer = http::get(at, path);
        (answer.status == 200).then(|| String::from_utf8(answer.body).expect("UTF-8"))
    })
}

/// The last file that a media playlist names.
fn file_of(playlist: &str) -> String {
    let line = playlist.lines().rfind(|line| line.starts_with("s/") && line.contains(".m4s"));
    line.unwrap_or_else(|| panic!("no segment in {playlist}")).to_owned()
}

fn with_edge(at: SocketAddr, path: &str, secret: &str) -> Response {
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Millstream-Edge: {secret}\r\nConnection: close\r\n\r\n");
    http::raw(at, head.as_bytes()).expect("an answer")
}

/// Paths with grants that are not good for them.
fn wrong_paths(grant: &str, of_other: &str, expired: &str) -> Vec<String> {
    let (said, mac) = grant.rsplit_once('.').expect("a MAC");
    let (first, rest) = mac.split_at(1);
    let forged = format!("{said}.{}{rest}", if first == "A" { "B" } else { "A" });
    let later = grant.replacen(".1.", ".2.", 1);
    let mut paths = Vec::new();
    for wrong in [of_other, expired, &forged, &later, said, "v1.", "v1....", &"v1.".repeat(500), &format!("{grant}A")] {
        for file in ["cam/live.m3u8", "cam/video.m3u8", "cam/manifest.mpd", "cam/s/1/v/2.m4s"] {
            paths.push(format!("/g/{wrong}/{file}"));
        }
    }
    // Grants for one stream, and a way to another.
    for way in [
        "other/video.m3u8",
        "cam/..%2fother/video.m3u8",
        "cam/%2e%2e/other/video.m3u8",
        "cam/../other/video.m3u8",
        "g/cam/video.m3u8",
    ] {
        paths.push(format!("/g/{grant}/{way}"));
    }
    paths.push(format!("/g/{grant}/g/{grant}/cam/video.m3u8"));
    paths.push(format!("/g/{}/cam/video.m3u8", grant.replace('.', "%252e")));
    paths.push(format!("/g/{grant}%2fcam/video.m3u8"));
    paths.push(format!("/g/{of_other}/cam%00/video.m3u8"));
    paths
}

#[test]
fn a_grant_plays_its_stream_in_every_form_and_no_other() {
    let (server, push) = protected("5s", "");
    let other = Publisher::start(server.rtmp, "stream", "other").expect("published").repeat(Clip::small());
    for path in ["/cam/grant", "/cam/grant?token=x", &format!("/cam/grant?token={}", token("other", "play", 60))] {
        assert_eq!(post(server.http, path).status, 403, "{path}");
    }
    assert_eq!(http::get(server.http, "/cam/grant").status, 405);
    assert!(
        http::request(server.http, "OPTIONS", "/cam/grant")
            .expect("an answer")
            .header("access-control-allow-methods")
            .contains("POST")
    );
    let [first, second] = [(); 2].map(|()| grant_of(server.http, "cam", ""));
    assert_ne!((text(&first, "session"), text(&first, "grant")), (text(&second, "session"), text(&second, "grant")));
    let (life_ms, renew_ms) =
        (first["expires_in_ms"].as_u64().expect("ms"), first["renew_in_ms"].as_u64().expect("ms"));
    assert!((4_000..=5_000).contains(&life_ms) && (life_ms / 2..life_ms).contains(&renew_ms), "{first}");
    // The same bytes for everyone, whose addresses are relative.
    let path = text(&first, "path").to_owned();
    let multivariant = body(server.http, &format!("{path}live.m3u8"));
    assert!(
        multivariant.contains("video.m3u8") && !multivariant.contains("token") && !multivariant.contains("/g/"),
        "{multivariant}"
    );
    let playlists =
        [&first, &second].map(|grant| body(server.http, &format!("{}live.m3u8?token=x", text(grant, "path"))));
    assert_eq!(playlists[0], playlists[1]);
    let file = file_of(&body(server.http, &format!("{path}video.m3u8")));
    let answer = http::get(server.http, &format!("{path}{file}"));
    assert_eq!((answer.status, answer.header("cache-control")), (200, "private, max-age=31536000, immutable"));
    assert!(body(server.http, &format!("{path}manifest.mpd")).contains("<MPD"));
    assert!(body(server.http, &format!("{path}live.json")).contains("\"live\""));
    assert_eq!(http::get(server.http, &format!("{path}grant")).status, 204);
    let mut flv =
        Viewer::open(server.http, &format!("{path}live.flv"), "HTTP/1.1").expect("an answer").expect("let in");
    flv.find("keyframe", seconds(5), Tag::is_keyframe);
    // A renewal is of the same session; it needs the token, and whoever plays goes on.
    let renew = || grant_of(server.http, "cam", &format!("&grant={}", text(&first, "grant")));
    assert_eq!(post(server.http, &format!("{path}grant")).status, 403, "the policy is asked again");
    let began = Instant::now();
    while began.elapsed() < seconds(6) {
        assert_eq!(text(&renew(), "session"), text(&first, "session"));
        assert!(!flv.tags_for(seconds(1)).is_empty() && flv.end.is_none(), "ended after {:?}", began.elapsed());
    }
    let of_other = grant_of(server.http, "other", "");
    let now = renew();
    assert_eq!(http::get(server.http, &format!("{}video.m3u8", text(&now, "path"))).status, 200);
    for path in wrong_paths(text(&now, "grant"), text(&of_other, "grant"), text(&first, "grant")) {
        let answer = http::get(server.http, &path);
        assert!(
            [400, 403, 404].contains(&answer.status) && answer.header("cache-control") == "no-store",
            "{path}: {}",
            answer.status
        );
        assert!(
            path.contains('%') || path.contains("..") || path.contains("/g/cam") || answer.status == 403,
            "{path}: {}",
            answer.status
        );
    }
    // Without renewals a connection ends with its grant.
    let until = Instant::now() + seconds(8);
    while flv.next_tag(millis(500)).is_some() || flv.end.is_none() {
        assert!(Instant::now() < until, "the session goes on behind the end of its grant");
    }
    assert!(!server.log.has(text(&first, "grant")) && !server.log.has("token=ey"), "{}", server.log.text());
    assert!(push.alive() && other.alive());
}

#[test]
fn the_life_of_a_grant_ends_with_what_the_policy_has_granted() {
    let config = format!(
        "[[auth.steps]]\nkind = \"jwt\"\npoint = \"play\"\nleeway = \"0s\"\nuntil_exp = true\nkeys = [{{ kid = \"a\", secret = \"{SECRET}\" }}]\n"
    );
    let server = Options::open().config(&config).start();
    let answer = post(server.http, &format!("/cam/grant?token={}", token("cam", "play", 3)));
    let made: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert!(made["expires_in_ms"].as_u64().is_some_and(|ms| ms <= 3_000), "{made}");
    let check = || http::get(server.http, &format!("{}grant", text(&made, "path"))).status;
    assert_eq!(check(), 204);
    std::thread::sleep(millis(3_100));
    assert_eq!(check(), 403);
}

#[test]
fn who_watches_renews_its_grant_in_a_drain_and_nobody_new_gets_one() {
    let (server, _push) = protected("60s", "");
    let first = grant_of(server.http, "cam", "");
    server.terminate();
    eventually("it drains", seconds(5), || (http::get(server.http, "/healthz").status == 503).then_some(()));
    let token = token("cam", "play", 600);
    assert_eq!(post(server.http, &format!("/cam/grant?token={token}")).status, 503, "a viewer that is new");
    // As a page does, with its grant beside its token.
    let renewed = grant_of(server.http, "cam", &format!("&grant={}", text(&first, "grant")));
    assert_eq!(text(&renewed, "session"), text(&first, "session"));
    assert_eq!(http::get(server.http, &format!("{}video.m3u8", text(&renewed, "path"))).status, 200);
}

#[test]
fn protected_streams_are_given_to_edges_that_prove_themselves_and_to_who_was_let_in() {
    let (server, push) = protected("60s", &edges());
    let at = server.http;
    let edge = |path: &str| with_edge(at, path, EDGE_SECRET);
    let playlist = eventually("the edge has a playlist", seconds(10), || {
        let answer = edge("/cam/video.m3u8");
        (answer.status == 200).then_some(answer)
    });
    assert!(playlist.header("cache-control").starts_with("public"), "{:?}", playlist.head);
    let file = format!("/cam/{}", file_of(&String::from_utf8_lossy(&playlist.body)));
    assert_eq!(edge(&file).header("cache-control"), "public, max-age=31536000, immutable");
    // What goes on for as long as it likes, and what makes grants, asks the policy.
    for path in ["/cam/live.flv", "/cam/live.json"] {
        assert_eq!(edge(path).status, 403, "{path}");
    }
    for wrong in ["", "edge-0123456789abcdeX", "edge-0123456789abcdef0"] {
        assert_eq!(with_edge(at, "/cam/video.m3u8", wrong).status, 403, "{wrong}");
    }
    assert_eq!((http::get(at, "/cam/video.m3u8").status, http::get(at, &file).status), (403, 403));
    // As a player with a token in its URL, which it does not take along to files.
    let answer = http::get(at, &format!("/cam/video.m3u8?token={}", token("cam", "play", 60)));
    assert!(answer.status == 200 && answer.header("cache-control").starts_with("private"), "{:?}", answer.head);
    let answer = http::get(at, &file);
    assert_eq!((answer.status, answer.header("cache-control")), (200, "private, max-age=31536000, immutable"));
    assert!(!server.log.has(EDGE_SECRET));
    assert!(push.alive());
}

/// Ten viewers, each with a grant of its own: what they ask for reaches the origin once.
#[test]
fn case_26_viewers_with_grants_of_their_own_cost_the_origin_one_request_per_url_through_nginx() {
    let (server, push) = protected("60s", &format!("{}\n[http]\ntrusted_proxies = [\"127.0.0.1\"]", edges()));
    let other = Publisher::start(server.rtmp, "stream", "other").expect("published").repeat(Clip::small());
    let cache = Cache::nginx_with(server.http, EDGE_SECRET);
    let short = grant_of(cache.address, "cam", "");
    body(cache.address, &format!("{}video.m3u8", text(&short, "path")));
    let followers: Vec<Following> = (0..10)
        .map(|n| {
            let grant = grant_of(cache.address, "cam", "");
            let id = format!("g/{}/cam", text(&grant, "grant"));
            Plan::low_latency(cache.address, &id, if n % 2 == 0 { "video.m3u8" } else { "audio.m3u8" }).start()
        })
        .collect();
    std::thread::sleep(seconds(6));
    for followed in followers.into_iter().map(Following::stop) {
        sound(&followed, 6);
    }
    let grant = grant_of(cache.address, "cam", "");
    let path = text(&grant, "path");
    assert!(body(cache.address, &format!("{path}manifest.mpd")).contains("<MPD"));
    let mut flv =
        Viewer::open(cache.address, &format!("{path}live.flv"), "HTTP/1.1").expect("an answer").expect("let in");
    flv.find("keyframe", seconds(5), Tag::is_keyframe);
    // What the cache has is for those alone who have a grant for it.
    let file = file_of(&body(cache.address, &format!("{path}video.m3u8")));
    assert_eq!(http::get(cache.address, &format!("{path}{file}")).status, 200);
    // Somebody who was let in with a token comes through nginx, too: what the origin gave it is not everyone's.
    let token = token("cam", "play", 600);
    for path in [format!("/cam/video.m3u8?token={token}"), format!("/cam/{file}")] {
        let socket = raw::connect_from(Ipv4Addr::new(127, 0, 0, 2).into(), cache.address).expect("it listens");
        let mut connection = http::Connection::over(socket).expect("a socket");
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).expect("it reads");
        assert_eq!(connection.head().expect("an answer").status, 200, "{path}");
    }
    for path in ["/cam/video.m3u8".to_owned(), format!("/cam/{file}"), "/g/cam/video.m3u8".to_owned()] {
        assert_ne!(http::get(cache.address, &path).status, 200, "{path}");
        assert_ne!(with_edge(cache.address, &path, EDGE_SECRET).status, 200, "{path}, said by a viewer");
    }
    let of_other = grant_of(cache.address, "other", "");
    body(cache.address, &format!("{}video.m3u8", text(&of_other, "path")));
    for path in wrong_paths(text(&grant, "grant"), text(&of_other, "grant"), "v1.1.1.AAAAAAAAAAAAAAAA.x") {
        // An escaped slash is one to nginx, and the rest of this is right.
        let answer = http::get(cache.address, &path);
        assert!([400, 403, 404].contains(&answer.status) || path.contains("%2fcam/"), "{path}: {}", answer.status);
    }
    // By whatever grant.
    let mut asked: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut answered = 0;
    for line in cache.log().iter().filter(|line| line.status == 200) {
        let Some((_, of)) = line.url.strip_prefix("/g/").and_then(|rest| rest.split_once('/')) else { continue };
        answered += 1;
        if line.asked_origin && !of.contains(".flv") {
            asked.entry(of.to_owned()).or_default().push(line.at);
        }
    }
    let by_number = |url: &str| url.contains("_HLS_msn") || url.contains("/s/");
    assert!(cache.log().iter().all(|line| !line.url.contains("v1.")), "the log has a grant");
    let twice: Vec<_> = asked
        .iter()
        .filter(|(url, at)| {
            at.windows(2).any(|pair| (pair[1] - pair[0]).abs() < if by_number(url) { 5.0 } else { 0.9 })
        })
        .collect();
    let origin: usize = asked.values().map(Vec::len).sum();
    println!("{answered} answers through nginx, {origin} of them asked the origin for something");
    assert!(answered > 3 * origin && origin > 50, "{answered} answers, {origin} from the origin");
    assert!(twice.is_empty(), "{twice:#?}");
    assert!(push.alive() && other.alive());
}

/// Node runs the function of `docs/cdn/grants.js` on these requests: a path and headers each.
fn function(keys: &[(u32, &str)], requests: &Value) -> Value {
    let harness = "const requests = JSON.parse(process.argv[1]);\n\
        console.log(JSON.stringify(requests.map((request) => handler({ version: '1.0', context: { eventType: 'viewer-request' }, request }))));";
    let script = format!("{}\n{harness}", cdn::function(keys, EDGE_SECRET));
    let done = Tool::start("node", &["-e", &script, "--", &requests.to_string()]).wait(seconds(20));
    assert!(done.status.success(), "{}", done.stderr);
    serde_json::from_str(&done.stdout).expect("JSON")
}

#[test]
fn the_cloudfront_function_lets_right_grants_through_and_no_others() {
    let (server, push) = protected("5s", &edges());
    let data = server.data_dir().display().to_string();
    let key = |generation: &str| {
        let printed = millstream(&["grant-key", "--data-dir", &data, "--generation", generation]);
        assert!(printed.status.success(), "{printed:?}");
        String::from_utf8(printed.stdout).expect("ASCII").trim_end().to_owned()
    };
    let (first, second) = (key("1"), key("2"));
    assert_eq!((first.len(), second.len(), first == second), (43, 43, false));
    let expired = grant_of(server.http, "cam", "");
    std::thread::sleep(seconds(5));
    let (grant, of_other) = (grant_of(server.http, "cam", ""), grant_of(server.http, "other", ""));
    let path = text(&grant, "path");
    body(server.http, &format!("{path}video.m3u8"));
    let file = file_of(&body(server.http, &format!("{path}video.m3u8")));
    let ask = |uri: &str| json!({ "method": "GET", "uri": uri, "querystring": {}, "headers": { "x-millstream-edge": { "value": "made up" } }, "cookies": {} });
    let good: Vec<String> =
        ["live.m3u8", "video.m3u8", "audio.m3u8", "manifest.mpd", &file].map(|name| format!("{path}{name}")).into();
    // Both keys are there while one replaces the other.
    let answers = function(&[(1, &first), (2, &second)], &good.iter().map(|uri| ask(uri)).collect());
    for (answer, uri) in answers.as_array().expect("a list").iter().zip(&good) {
        let (uri_now, secret) = (text(answer, "uri"), text(&answer["headers"]["x-millstream-edge"], "value"));
        assert_eq!(uri_now, uri.replacen(path, "/cam/", 1));
        let answer = with_edge(server.http, uri_now, secret);
        assert!(
            answer.status == 200 && answer.header("cache-control").starts_with("public"),
            "{uri}: {:?}",
            answer.head
        );
    }
    let wrong: Vec<String> = wrong_paths(text(&grant, "grant"), text(&of_other, "grant"), text(&expired, "grant"));
    let wrong: Vec<String> =
        wrong.into_iter().chain([format!("{path}a/b/c/live.m3u8"), format!("{path}s/../../x/live.m3u8")]).collect();
    let answers = function(&[(1, &first), (2, &second)], &wrong.iter().map(|uri| ask(uri)).collect());
    for (answer, uri) in answers.as_array().expect("a list").iter().zip(&wrong) {
        // Refused, or left to the origin as it came, without what says that it was checked.
        let passed_on = answer["uri"] == **uri && answer["headers"].get("x-millstream-edge").is_none();
        assert!(answer["statusCode"] == 403 || passed_on, "{uri}: {answer}");
        if passed_on {
            assert_ne!(http::get(server.http, uri).status, 200, "{uri}");
        }
    }
    let left_alone = [
        "/cam/live.m3u8",
        "/cam/hls.html",
        "/cam/grant",
        "/.assets/x.js",
        "/time",
        &format!("{path}live.flv"),
        "/g/live.m3u8",
    ];
    let answers = function(&[(1, &first)], &left_alone.iter().map(|uri| ask(uri)).collect());
    for (answer, uri) in answers.as_array().expect("a list").iter().zip(left_alone) {
        assert!(answer["uri"] == uri && answer["headers"] == json!({}), "{uri}: {answer}");
    }
    // A key that is no longer there.
    let answers = function(&[(2, &second)], &good.iter().map(|uri| ask(uri)).collect());
    assert!(answers.as_array().expect("a list").iter().all(|answer| answer["statusCode"] == 403), "{answers}");
    assert!(push.alive());
}

#[test]
fn grants_are_of_the_key_of_the_installation_and_end_when_it_is_raised_by_two() {
    let dir = {
        let (server, push) = protected("60s", "");
        drop(push);
        let grant = grant_of(server.http, "cam", "");
        (server.kill(), text(&grant, "path").to_owned())
    };
    let (mut dir, path) = dir;
    for (generation, status) in [(1, 204), (2, 204), (3, 403)] {
        let config = format!(
            "[auth]\ngrant_generation = {generation}\n[[auth.steps]]\nkind = \"jwt\"\npoint = \"play\"\nkeys = [{{ kid = \"a\", secret = \"{SECRET}\" }}]\n"
        );
        let server = Options::open().config(&config).start_in(dir);
        assert_eq!(http::get(server.http, &format!("{path}grant")).status, status, "generation {generation}");
        dir = server.kill();
    }
}

/// What each viewer of a page for HLS is counted as: its session, whatever its requests say.
#[test]
fn viewers_with_grants_are_counted_by_their_sessions() {
    let (server, push) = protected("60s", "");
    let grants: Vec<Value> = (0..3).map(|_| grant_of(server.http, "cam", "")).collect();
    for _ in 0..3 {
        for grant in &grants {
            body(server.http, &format!("{}video.m3u8", text(grant, "path")));
        }
    }
    let mut api = Client::admin(&server);
    let session = api.get("/api/v1/streams/cam/session").is(200).json;
    let hls = session["viewers"].as_array().into_iter().flatten().find(|viewers| viewers["protocol"] == "hls");
    assert_eq!(hls.map(|hls| &hls["count"]), Some(&json!(3)), "{session}");
    assert!(push.alive());
}

fn watch(server: &Server, time_s: u64, urls: &[String]) -> Tool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/grants.mjs");
    let (script, time_s) = (script.to_str().expect("ASCII").to_owned(), time_s.to_string());
    let urls: Vec<String> = urls.iter().map(|url| format!("http://{}{url}", server.http)).collect();
    let args: Vec<&str> = [script.as_str(), &time_s].into_iter().chain(urls.iter().map(String::as_str)).collect();
    Tool::start("node", &args)
}

/// The pages renew their grants beside the picture, and end when their token is no longer good.
#[test]
#[ignore = "takes 40 s; tests/run --long has it"]
fn pages_play_over_several_renewals_until_their_token_ends() {
    let (server, push) = protected("5s", "");
    body(server.http, &format!("{}video.m3u8", text(&grant_of(server.http, "cam", ""), "path")));
    let pages = ["flv", "hls", "dash"];
    let token = token("cam", "play", 20);
    let urls = pages.map(|page| format!("/cam/{page}.html?token={token}"));
    let done = watch(&server, 28, &urls).wait(seconds(90));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
    for (n, page) in pages.iter().enumerate() {
        let line = |what: &str| {
            let prefix = format!("{n} {what} ");
            done.stdout.lines().rev().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).unwrap_or_default()
        };
        let number = |what: &str| line(what).parse::<f64>().unwrap_or(-1.0);
        assert!(number("renewals") >= 3.0, "{page}: {} renewals", line("renewals"));
        // The picture has advanced by nearly the time for which the token was good, and in each stretch of it.
        assert!(number("played") > 9.0, "{page} played {} s", line("played"));
        assert!(number("longest") < 3.0, "{page} stood still for {} s", line("longest"));
        assert_eq!(line("state"), "denied", "{page}");
        assert_eq!(line("tokens"), "0", "{page}: media was asked for with the token in its address");
    }
    assert!(push.alive());
}

#[test]
fn who_looks_at_streams_by_the_api_plays_their_recordings_and_nobody_else() {
    let (server, push) = protected("2m", "[stream_defaults]\npublisher_wait = \"1s\"\n");
    let mut client = Client::admin(&server);
    let settings = json!({ "isOnDemand": true, "ondemand_time": 2 });
    client.post("/api/v1/streams", &json!({ "id": "cam", "settings": settings })).is(201);
    let mut recording = |state: &str| {
        eventually(&format!("it is {state}"), seconds(25), || {
            let list = client.get("/api/v1/recordings?stream=cam").is(200).json;
            let one = list["items"].as_array()?.first().filter(|one| one["state"] == state)?;
            one["recording"].as_str().map(str::to_owned)
        })
    };
    recording("recording");
    std::thread::sleep(seconds(4));
    drop(push);
    let name = recording("stored");
    let shown = client.get("/api/v1/streams/cam/preview").is(200).json;
    let below = text(&shown["items"][0], "below");
    let (_, below) = below.split_once(&server.http.port().to_string()).expect("this server's address");
    assert!(below.starts_with("/g/v1.") && below.ends_with("/cam/"), "{below}");
    let file = format!("rec/{name}/index.m3u8");
    let playlist = body(server.http, &format!("{below}{file}"));
    assert!(playlist.starts_with("#EXTM3U"), "{playlist}");
    let page = http::get(server.http, &format!("{below}rec/{name}/index.html"));
    assert_eq!(page.status, 200);
    let refused = http::get(server.http, &format!("/cam/{file}"));
    assert!((401..=403).contains(&refused.status), "{}", refused.status);
}
