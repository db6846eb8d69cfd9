# Varnish as a cache in front of Millstream: HLS with low-latency parts, DASH, HTTP-FLV, pages.
# Works as it is for an origin on the same machine; change the lines marked <-. Reasons and figures: docs/cdn.md.
# The tests start this very file (tests/src/cdn.rs changes the marked lines only).
vcl 4.1;

backend millstream {
    .host = "127.0.0.1";    # <-
    .port = "8080";         # <-
    .connect_timeout = 3s;
    # The origin holds a request for 3 target durations at most, 6 s by default.
    .first_byte_timeout = 30s;
    .between_bytes_timeout = 30s;
}

sub vcl_recv {
    if (req.method != "GET" && req.method != "HEAD" && req.method != "OPTIONS") {
        return (synth(405));
    }
    # A stream without an end: each byte goes on as it comes, and nothing is kept.
    if (req.url ~ "^[^?]*\.flv(\?|$)" || req.method == "OPTIONS") {
        return (pipe);
    }
    # The key takes one of each; a request with two would be answered under the name of another.
    if (req.url ~ "[?&]_HLS_(msn|part|skip)=.*&_HLS_\1=") {
        return (synth(400));
    }
    # All viewers get the same bytes: what tells them apart is not looked at, and does not reach the origin.
    unset req.http.Cookie;
    unset req.http.Authorization;
    return (hash);
}

sub vcl_pipe {
    # Otherwise a second request on this connection would go past the cache.
    set bereq.http.Connection = "close";
    # FLV over WebSocket is an upgrade of live.flv.
    if (req.http.Upgrade) {
        set bereq.http.Upgrade = req.http.Upgrade;
        set bereq.http.Connection = "Upgrade";
    }
}

# Path, _HLS_msn, _HLS_part and _HLS_skip, in whatever order they come; nothing else.
sub vcl_hash {
    hash_data(regsub(req.url, "\?.*$", ""));
    if (req.url ~ "\?") {
        if (req.url ~ "[?&]_HLS_msn=") {
            hash_data("msn=" + regsub(req.url, "^.*[?&]_HLS_msn=([^&]*).*$", "\1"));
        }
        if (req.url ~ "[?&]_HLS_part=") {
            hash_data("part=" + regsub(req.url, "^.*[?&]_HLS_part=([^&]*).*$", "\1"));
        }
        if (req.url ~ "[?&]_HLS_skip=") {
            hash_data("skip=" + regsub(req.url, "^.*[?&]_HLS_skip=([^&]*).*$", "\1"));
        }
    }
    return (lookup);
}

sub vcl_backend_response {
    # What has expired is fetched anew rather than served once more: an old playlist is of no use.
    set beresp.grace = 0s;
    set beresp.keep = 0s;
    if (beresp.status >= 400 || beresp.http.Cache-Control ~ "no-store|private") {
        # Errors are not kept. Varnish remembers, though, that an answer was not to be kept, and does not make others wait for the next one:
        # two minutes of that would take a stream that comes on air past the cache.
        set beresp.uncacheable = true;
        set beresp.ttl = 1s;
    }
    # The freshness lifetime is the origin's: half a target duration for a playlist, six for an answer that waited (s-maxage), a year for
    # media.
    return (deliver);
}

sub vcl_deliver {
    if (obj.hits > 0) {
        set resp.http.X-Cache = "HIT";
    } else {
        set resp.http.X-Cache = "MISS";
    }
    unset resp.http.X-Varnish;
    unset resp.http.Via;
}
