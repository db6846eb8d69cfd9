//! Who may: tokens, roles, logins, hosts and origins.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use millstream_api::http::serve::Limits;
use millstream_api::model::ONCE;
use millstream_api::tls::{CertificateInUse, TlsInForce};
use millstream_store::Store as _;
use millstream_store::memory::MemoryStore;
use serde_json::json;

use crate::harness::{ADMIN, NOW_MS, Options, Request, Response, Server};

fn bearer<'a>(server: &'a Server, token: &str, method: &str, path: &str) -> Request<'a> {
    server.plain(method, path).header("Authorization", &format!("Bearer {token}"))
}

#[test]
fn each_role_may_what_it_says() {
    let server = Server::start();
    server.post("/api/v1/streams", &json!({ "id": "cam", "settings": { "relayURL": "rtmp://x/y/hush" } })).is(201);
    let (viewer, operator) = (server.token("viewer"), server.token("operator"));
    let get = |token: &str, path: &str| bearer(&server, token, "GET", path).send();
    for path in ["/api/v1/streams", "/api/v1/streams/cam", "/api/v1/live", "/api/v1/nodes"] {
        assert!(!get(&viewer, path).is(200).body().contains("hush"), "{path}");
        assert_eq!(get(&operator, path).is(200).body().contains("hush"), path.contains("streams"), "{path}");
        get("mst_0123456789abcdef_xxx", path).refused(401, "not known");
    }
    get(&viewer, "/api/v1/streams/cam/key").refused(403, "operator");
    get(&operator, "/api/v1/streams/cam/key").is(200);
    bearer(&server, &viewer, "POST", "/api/v1/streams").json(&json!({})).send().refused(403, "operator");
    bearer(&server, &viewer, "DELETE", "/api/v1/streams/cam").header("If-Match", "*").send().refused(403, "operator");
    bearer(&server, &viewer, "DELETE", "/api/v1/streams/cam/session").send().refused(403, "operator");
    for path in ["/api/v1/tokens", "/api/v1/audit", "/api/v1/config"] {
        get(&viewer, path).refused(403, "admin");
        get(&operator, path).refused(403, "admin");
        get(ADMIN, path).is(200);
    }
    let log = server.audit();
    assert!(log.iter().all(|(who, _, _)| who == "admin-token"), "{log:?}");
    bearer(&server, &operator, "POST", "/api/v1/streams").json(&json!({ "id": "theirs" })).send().is(201);
    assert!(server.audit()[0].0.starts_with("a operator ("), "{:?}", server.audit()[0]);
}

#[test]
fn tokens_are_shown_once_expire_and_are_removed() {
    let server = Server::start();
    let new = json!({ "name": "ci", "role": "viewer", "expires_unix_ms": NOW_MS + 1_000 });
    let made = server.post("/api/v1/tokens", &new);
    let (token, id) = (made.is(201).text("token").to_owned(), made.text("id").to_owned());
    assert!(token.starts_with("mst_") && made.header("location") == Some(&format!("/api/v1/tokens/{id}")));
    for path in ["/api/v1/tokens".to_owned(), format!("/api/v1/tokens/{id}"), "/api/v1/audit".to_owned()] {
        let shown = server.get(&path);
        assert!(shown.is(200).body().contains(&id) && !shown.body().contains(&token[21..]), "{path}");
    }
    let look = || bearer(&server, &token, "GET", "/api/v1/streams").send();
    look().is(200);
    server.set_clock(NOW_MS + 1_000);
    look().refused(401, "expired");
    server.set_clock(NOW_MS);
    look().is(200);
    server.request("DELETE", &format!("/api/v1/tokens/{id}")).send().is(204);
    look().refused(401, "removed");
    server.request("DELETE", &format!("/api/v1/tokens/{id}")).send().refused(404, "");
    server.get("/api/v1/tokens/..%2f..").refused(404, "no token");
    server
        .post("/api/v1/tokens", &json!({ "name": "", "role": "viewer", "expires_unix_ms": 1 }))
        .refused(400, "2 fields");
    server.post("/api/v1/tokens", &json!({ "name": "x", "role": "god" })).refused(400, "");
}

fn log_in(server: &Server, token: &str) -> Response {
    server.plain("POST", "/api/v1/login").json(&json!({ "token": token })).send()
}

#[test]
fn a_browser_logs_in_with_a_token_and_gets_a_cookie_that_asks_for_more() {
    let server = Server::start();
    let login = log_in(&server, ADMIN);
    let set = login.is(200).header("set-cookie").unwrap().to_owned();
    assert!(set.contains("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"), "{set}");
    let cookie = set.split(';').next().unwrap();
    let csrf = login.text("csrf").to_owned();
    let with = |method: &str, path: &str| server.plain(method, path).header("Cookie", &format!("a=b; {cookie}; c"));
    let read = with("GET", "/api/v1/streams").send();
    assert_eq!(read.is(200).header("access-control-allow-origin"), None);
    assert_eq!(with("GET", "/api/v1/login").send().is(200).text("csrf"), csrf);
    // What changes something needs the login's own word, and a page of this server.
    let body = json!({ "id": "cam" });
    with("POST", "/api/v1/streams").json(&body).send().refused(403, "X-CSRF-Token");
    with("POST", "/api/v1/streams").header("X-CSRF-Token", "wrong").json(&body).send().refused(403, "X-CSRF-Token");
    let foreign = with("POST", "/api/v1/streams").header("X-CSRF-Token", &csrf).header("Origin", "http://evil.example");
    foreign.json(&body).send().refused(403, "pages of this server");
    with("GET", "/api/v1/streams").header("Sec-Fetch-Site", "cross-site").send().refused(403, "pages of this server");
    let own = with("POST", "/api/v1/streams").header("X-CSRF-Token", &csrf);
    own.header("Origin", &format!("http://{}", server.address)).json(&body).send().is(201);
    // A login ends: by its time, and by logging out.
    server.set_clock(NOW_MS + 12 * 3_600_000);
    with("GET", "/api/v1/streams").send().refused(401, "log in again");
    server.set_clock(NOW_MS);
    let out = with("DELETE", "/api/v1/login").header("X-CSRF-Token", &csrf).send();
    assert!(out.is(204).header("set-cookie").unwrap().contains("Max-Age=0"));
    with("GET", "/api/v1/streams").send().refused(401, "log in again");
}

#[test]
fn a_login_is_over_when_its_token_is_removed() {
    let server = Server::start();
    let token = server.token("operator");
    let login = log_in(&server, &token);
    let cookie = login.is(200).header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let look = || server.plain("GET", "/api/v1/streams").header("Cookie", &cookie).send();
    look().is(200);
    server.plain("GET", "/api/v1/audit").header("Cookie", &cookie).send().refused(403, "admin");
    server.request("DELETE", &format!("/api/v1/tokens/{}", &token[4..20])).send().is(204);
    look().refused(401, "");
}

#[test]
fn wrong_tokens_at_the_same_moment_do_not_pass_each_other() {
    let server = Server::start();
    let refused = std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..40).map(|_| scope.spawn(|| log_in(&server, "wrong").status)).collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).filter(|status| *status == 429).count()
    });
    assert_eq!(refused, 35, "of 40 guesses");
}

#[test]
fn a_token_has_so_many_logins_and_the_oldest_ends() {
    let server = Server::start();
    let token = server.token("viewer");
    let cookie = |n: u64| {
        server.set_clock(NOW_MS + n);
        let login = log_in(&server, &token);
        login.is(200).header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    };
    let cookies: Vec<_> = (0..33).map(cookie).collect();
    let look = |cookie: &str| server.plain("GET", "/api/v1/streams").header("Cookie", cookie).send();
    look(&cookies[0]).refused(401, "log in again");
    look(&cookies[1]).is(200);
    look(&cookies[32]).is(200);
}

#[test]
fn who_may_change_nothing_reserves_no_idempotency_key() {
    let store = Arc::new(MemoryStore::new());
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    let bearer = format!("Bearer {}", server.token("viewer"));
    let post = server.plain("POST", "/api/v1/streams").header("Authorization", &bearer).header("Idempotency-Key", "k");
    post.json(&json!({ "id": "cam" })).send().refused(403, "operator");
    let kept = server.run(store.count(ONCE)).unwrap();
    assert_eq!(kept, 0);
}

#[test]
fn wrong_logins_are_few_and_bearer_tokens_go_on() {
    let server = Server::start();
    for _ in 0..5 {
        log_in(&server, "wrong").refused(401, "not good");
    }
    let refused = log_in(&server, "wrong");
    refused.refused(429, "try again in");
    assert!(refused.header("retry-after").is_some());
    server.get("/api/v1/streams").is(200);
    // Whoever has the right token shares the address with those who guess, and is let in.
    log_in(&server, ADMIN).is(200);
    server.set_clock(NOW_MS + 60_000);
    log_in(&server, "wrong").refused(401, "not good");
    let foreign = server.plain("POST", "/api/v1/login").header("Origin", "http://evil.example");
    foreign.json(&json!({ "token": ADMIN })).send().refused(403, "page of this server");
}

#[test]
fn pages_of_other_origins_may_send_tokens_and_nothing_else() {
    let server = Server::start();
    let asked = server.plain("OPTIONS", "/api/v1/streams").header("Origin", "http://elsewhere.example");
    let allowed = asked.header("Access-Control-Request-Method", "POST").send();
    assert_eq!(allowed.is(204).header("access-control-allow-origin"), Some("*"));
    assert!(allowed.header("access-control-allow-headers").unwrap().contains("authorization"));
    assert_eq!(allowed.header("access-control-allow-credentials"), None);
    let read = server.request("GET", "/api/v1/streams").header("Origin", "http://elsewhere.example").send();
    assert_eq!(read.is(200).header("access-control-allow-origin"), Some("*"));
    assert_eq!(read.header("access-control-allow-credentials"), None);
    let refused = server.plain("GET", "/api/v1/streams").send();
    assert_eq!(refused.is(401).header("access-control-allow-origin"), Some("*"), "so that a page can read why");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"millstream\""));
}

#[test]
fn other_hosts_are_refused() {
    let server = Server::start();
    let host = |host: &str| server.request("GET", "/api/v1/streams").header("Host", host).send();
    for own in ["localhost", "127.0.0.1:1", "[::1]:99", "stream.example.org", "STREAM.example.org:443"] {
        host(own).is(200);
    }
    for other in ["evil.example", "192.0.2.1", "localhost.evil.example", ""] {
        host(other).refused(421, "control.names");
    }
    // What a load balancer asks has whatever host it likes.
    server.plain("GET", "/healthz").header("Host", "10.0.0.1").send().is(200);
    server.draining.store(true, Ordering::Relaxed);
    let draining = server.plain("GET", "/healthz").send();
    assert_eq!(draining.is(503).body(), "draining\n");
}

/// Each of them is an entry of the audit log, which is kept for more than a year.
#[test]
fn logins_of_one_token_are_bounded_and_say_where_they_came_from() {
    let server = Server::start();
    let viewer = server.token("viewer");
    let statuses: Vec<u16> = (0..60).map(|_| log_in(&server, &viewer).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 40, "{statuses:?}");
    log_in(&server, &viewer).refused(429, "Authorization: Bearer");
    // Nobody else waits for it, and the token goes on.
    log_in(&server, ADMIN).is(200);
    bearer(&server, &viewer, "GET", "/api/v1/streams").send().is(200);
    let entries = server.get("/api/v1/audit?limit=100");
    let entries = entries.is(200).json()["items"].as_array().unwrap();
    let logins: Vec<_> = entries.iter().filter(|entry| entry["action"] == "login").collect();
    assert_eq!(logins.len(), 41);
    assert!(logins.iter().all(|entry| entry["address"] == "127.0.0.1"), "{logins:?}");
    server.pass(60_000);
    log_in(&server, &viewer).is(200);
    log_in(&server, &viewer).refused(429, "");
}

/// A proxy on this machine comes from a loopback address, whoever it asks for.
#[test]
fn metrics_are_not_open_to_whom_a_proxy_passes_on() {
    let forwarded = |limits: Limits, name: &str, value: &str| {
        let server = Server::with(Options { limits, ..Options::default() });
        server.plain("GET", "/metrics").send().is(200);
        server.plain("GET", "/metrics").header(name, value).send().status
    };
    let trusting = || Limits { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..Limits::default() };
    for name in ["X-Forwarded-For", "Forwarded", "X-Real-IP"] {
        let value = if name == "Forwarded" { "for=203.0.113.9" } else { "203.0.113.9" };
        assert_eq!(forwarded(Limits::default(), name, value), 401, "{name}");
        assert_eq!(forwarded(trusting(), name, value), 401, "{name} of a trusted proxy");
    }
    // One that says nothing of itself and keeps the name that it was asked by.
    assert_eq!(forwarded(Limits::default(), "Host", "stream.example.org"), 401);
    assert_eq!(forwarded(Limits::default(), "Host", "localhost"), 200);
}

#[test]
fn tokens_and_webhooks_made_at_the_same_moment_do_not_pass_their_maximum_together() {
    let server = Server::start();
    let make = |n: usize| server.post("/api/v1/webhooks", &json!({ "url": format!("https://example.com/{n}") })).status;
    for n in 0..95 {
        assert_eq!(make(n), 201);
    }
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let making: Vec<_> = (95..125).map(|n| scope.spawn(move || make(n))).collect();
        making.into_iter().map(|statuses| statuses.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 5, "{statuses:?}");
    assert_eq!(server.get("/api/v1/webhooks?limit=500").is(200).json()["items"].as_array().unwrap().len(), 100);
}

#[test]
fn metrics_are_open_on_loopback_only() {
    let server = Server::start();
    let open = server.plain("GET", "/metrics").send();
    assert!(open.is(200).header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let server = Server::with(Options { metrics_open: false, ..Options::default() });
    server.plain("GET", "/metrics").send().refused(401, "");
    bearer(&server, &server.token("viewer"), "GET", "/metrics").send().is(200);
}

#[test]
fn certificates_in_use_are_for_operators() {
    let without = Server::start();
    without.get("/api/v1/tls").refused(404, "no ports with TLS");
    let state = TlsInForce {
        certificates: vec![CertificateInUse {
            file: "/etc/a.pem".to_owned(),
            names: vec!["live.example.org".to_owned()],
            valid_from_unix_s: 1,
            valid_until_unix_s: 2,
        }],
        problems: vec!["/etc/a.pem: has expired".to_owned()],
        refused: Some("/etc/a.pem: cannot be read".to_owned()),
        refused_total: 3,
        http2: true,
        kernel: "the kernel refuses it".to_owned(),
        kernel_sessions: 0,
    };
    let shown = state.clone();
    let server = Server::with(Options { tls: Some(Arc::new(move || shown.clone())), ..Options::default() });
    let seen = bearer(&server, &server.token("operator"), "GET", "/api/v1/tls").send();
    assert_eq!(*seen.is(200).json(), serde_json::to_value(state).unwrap());
    bearer(&server, &server.token("viewer"), "GET", "/api/v1/tls").send().refused(403, "operator");
    server.plain("GET", "/api/v1/tls").send().refused(401, "");
}

#[test]
fn a_cookie_is_for_tls_where_browsers_come_by_tls() {
    for (public_url, secure) in
        [(None, false), (Some("http://console.example.org"), false), (Some("https://console.example.org"), true)]
    {
        let server = Server::with(Options { public_url: public_url.map(str::to_owned), ..Options::default() });
        let mut login = server.plain("POST", "/api/v1/login").json(&json!({ "token": ADMIN }));
        // The proxy says its own name for this server, and browsers the public one.
        if let Some(url) = public_url {
            login = login.header("Origin", url);
        }
        let answer = login.send();
        let cookie = answer.is(200).header("set-cookie").unwrap();
        assert_eq!(cookie.contains("; Secure"), secure, "{public_url:?}: {cookie}");
        assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
        let foreign = server.plain("POST", "/api/v1/login").header("Origin", "https://evil.example");
        foreign.json(&json!({ "token": ADMIN })).send().is(403);
    }
}
