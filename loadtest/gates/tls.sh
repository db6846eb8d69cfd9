# The gate `tls`, which `run` reads; it uses what is defined there.
# shellcheck shell=bash

# Viewers over TLS, by HTTP/1.1 and by HTTP/2, beside plain ones and beside nginx with TLS in front of the same server; the same for files; 5,000 viewers
# on a core, whose client is our own: h2load decrypts all of it, and is slower than the server; what an idle viewer holds; and 500 handshakes a second,
# then a flood of half ones, beside a thousand viewers. `TLS_PARTS` says which of these: costs crowd idle files handshakes.
tls() {
    local tool missing=
    for tool in h2load nginx openssl; do command -v $tool >/dev/null || missing="$missing $tool"; done
    [[ -z $missing ]] || { echo "tls: not installed:$missing (h2load is in nghttp2-client)" >&2; return 1; }
    local rounds=${TLS_ROUNDS:-3} viewers=${TLS_VIEWERS:-1000} of_tls=(python3 "$here/tls.py") policy turn round status=0
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$scratch/key.pem" -out "$scratch/cert.pem" -days 2 \
        -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
    more="[tls]
certificates = [\"$scratch/cert.pem\"]
keys = [\"$scratch/key.pem\"]
[http]
tls_listen = \"127.0.0.1:29368\""
    cat >"$scratch/nginx.conf" <<END
worker_processes 1;
worker_cpu_affinity 01;
worker_rlimit_nofile 40000;
daemon off;
pid $scratch/nginx.pid;
error_log $scratch/nginx.log;
events { worker_connections 20000; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=100;
    keepalive_requests 10000000;
    server {
        listen 127.0.0.1:29369 ssl http2;
        ssl_certificate $scratch/cert.pem;
        ssl_certificate_key $scratch/key.pem;
        ssl_protocols TLSv1.3;
        root $scratch/files;
        location ~ live.flv { proxy_pass http://127.0.0.1:29362; proxy_http_version 1.1; proxy_buffering off; }
    }
}
END
    local worker master costs nginx parts=${TLS_PARTS:-costs crowd idle files handshakes}
    local cost_of='import json, sys; print(json.load(sys.stdin)["s_per_gb"])'
    echo "tls: AES-128-GCM alone, by openssl, on this core: $(taskset -c 0 openssl speed -elapsed -seconds 2 -bytes 16384 -evp aes-128-gcm 2>/dev/null | awk '/^AES-128-GCM/ {printf "%.3f CPU-s/GB", 1e6 / $2}')"
    [[ $parts != *costs* ]] || for policy in balanced dense; do
        declare -A costs=()
        for round in $(seq "$rounds"); do
            for turn in plain tls http2 nginx; do
                start "$policy" 1
                publish_one 60
                local pid=$server url=https://localhost:29368/cam/live.flv mode=h1
                case $turn in
                    plain) url=http://localhost:29362/cam/live.flv ;;
                    http2) mode= ;;
                    nginx)
                        nginx -c "$scratch/nginx.conf" -p "$scratch" 2>/dev/null &
                        master=$!
                        sleep 1
                        worker=$(cat "/proc/$master/task/$master/children")
                        pid=${worker% } url=https://localhost:29369/cam/live.flv
                        ;;
                esac
                local found
                found=$("${of_tls[@]}" viewers "$pid" 29363 "$url" "$viewers" 10 $mode)
                echo "    $policy, $turn: $found"
                costs[$turn]="${costs[$turn]:-}${costs[$turn]:+,}$(python3 -c "$cost_of" <<<"$found")"
                [[ $turn != nginx ]] || { kill "$master"; wait "$master" || true; }
                unpublish
                stop
            done
        done
        echo "tls: $policy, $viewers viewers (nginx: its worker's alone, without the server behind it)"
        "${of_tls[@]}" result "plain=${costs[plain]}" "tls=${costs[tls]}" "http2=${costs[http2]}" "nginx=${costs[nginx]}"
    done
    local scheme port
    [[ $parts != *crowd* ]] || for turn in ${TLS_CROWD:-http https http https}; do
        scheme=$turn port=29362
        [[ $turn == http ]] || port=29368
        start dense 1
        load "5000 viewers of 2.5 Mbit/s, dense, $turn" viewers --viewers 5000 --rtmp-viewers 0 --sample 20 --over 25s --duration 50s --video-kbit 2400 --audio-kbit 100
        stop
    done
    # Viewers of a stream that waits for its publisher.
    [[ $parts != *idle* ]] || for turn in plain h1 h2 plain h1 h2; do
        start balanced 1 10m
        publish_one 4
        wait "$publishing" || true
        local at=https://localhost:29368 mode=h1
        [[ $turn != plain ]] || at=http://localhost:29362
        [[ $turn != h2 ]] || mode=
        echo "tls: idle, $turn: $("${of_tls[@]}" idle "$server" 29363 "$at/cam/live.flv" 4000 12 $mode)"
        stop
    done
    [[ $parts != *files* ]] || tls_files
    [[ $parts != *handshakes* ]] || tls_handshakes
    more=
    return $status
}

tls_files() {
    # Files, beside nginx that has them in memory.
    start balanced 1 10m
    publish_one 12
    sleep 6
    curl -s -o /dev/null http://127.0.0.1:29362/cam/video.m3u8
    sleep 4
    local segment
    segment=$(curl -s http://127.0.0.1:29362/cam/video.m3u8 | grep -v '^#' | tail -1)
    mkdir -p "$scratch/files"
    chmod 755 "$scratch" "$scratch/files"
    curl -s -o "$scratch/files/segment" "http://127.0.0.1:29362/cam/$segment"
    unpublish
    nginx -c "$scratch/nginx.conf" -p "$scratch" 2>/dev/null &
    master=$!
    sleep 1
    worker=$(cat "/proc/$master/task/$master/children")
    for turn in h1 ""; do
        for round in $(seq "$rounds"); do
            echo "    segment, ${turn:-h2}: ours $("${of_tls[@]}" files "$server" "https://localhost:29368/cam/$segment" 4 $turn), nginx $("${of_tls[@]}" files "${worker% }" https://localhost:29369/segment 4 $turn)"
        done
    done
    kill "$master"
    wait "$master" || true
    stop
}

# Handshakes beside viewers with TLS whose delay is measured: in full, or cut short by who said hello.
tls_handshakes() {
    local scheme=https port=29368 shaking held=${TLS_HANDSHAKES_FOR:-40} how handshakes_max=512
    for turn in ${TLS_SHAKE:-without full without full unfinished}; do
        start balanced 1
        shaking=
        if [[ $turn != without ]]; then
            how=
            [[ $turn == full ]] || how=--unfinished
            { sleep 8; taskset -c 1 "$target/millstream-loadtest" handshakes https://127.0.0.1:29368/healthz --per-second 500 --duration "${held}s" $how; } >"$scratch/shaken" &
            shaking=$!
        fi
        load "1000 viewers over TLS, handshakes: $turn" viewers --viewers 1000 --rtmp-viewers 0 --over 4s --duration "$((held + 12))s" --video-kbit 2400 --audio-kbit 100
        [[ -z $shaking ]] || { wait $shaking || true; echo "    $(cat "$scratch/shaken")"; }
        curl -s http://127.0.0.1:29363/metrics | awk '/^millstream_tls_handshakes_total/ {n += $2} /handshakes"/ && /^millstream_(refused|closed)_total/ {r += $2} END {printf "    by the server: %d handshakes finished, %d connections that had asked for nothing were refused or let go of\n", n, r}'
        stop
    done
}

# publish_one SECONDS: a stream `cam` of 2.5 Mbit/s.
publish_one() {
    taskset -c 1 "$target/millstream-loadtest" run publishers --publishers 1 --stream cam --viewers 0 --rtmp-viewers 0 --over 1s --duration "$1s" \
        --video-kbit 2400 --audio-kbit 100 --rtmp rtmp://127.0.0.1:29361 --quiet >"$scratch/pushed.txt" 2>&1 &
    publishing=$!
    sleep 2
}

unpublish() {
    kill "$publishing" 2>/dev/null || true
    wait "$publishing" 2>/dev/null || true
}
