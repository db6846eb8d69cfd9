# The gate `against`, which `run` reads; it uses what is defined there.
# shellcheck shell=bash

# This server beside another build of it, MILLSTREAM_BASE, under the same loads by turns: what each takes of a core for a gigabyte, and the delay that
# viewers have. Fails where the median of this one's cost is more than 3% above the other's. `AGAINST_ROUNDS` (default 3): pairs of each load; single
# pairs differ by a tenth and more. `AGAINST_LOADS`: only loads whose names match that expression.
against() {
    local base=${MILLSTREAM_BASE:?MILLSTREAM_BASE names the other build of the server} rounds=${AGAINST_ROUNDS:-3} found=$scratch/against status=0
    : >"$found"
    local viewers=(--video-kbit 2400 --audio-kbit 100)
    pairs "dense, 5000 viewers" dense viewers --viewers 5000 --over 8s --duration 20s "${viewers[@]}"
    pairs "balanced, 500 viewers" balanced viewers --viewers 500 --over 4s --duration 14s "${viewers[@]}"
    pairs "balanced, 2000 viewers" balanced viewers --viewers 2000 --over 4s --duration 14s "${viewers[@]}"
    pairs "low, 1000 viewers" low viewers --viewers 1000 --over 4s --duration 14s "${viewers[@]}"
    pairs "1000 viewers, 50 joins a second" balanced churn --viewers 1000 --rtmp-viewers 0 --stay 20s --duration 20s "${viewers[@]}"
    pairs "5000 viewers within a second" balanced flash-crowd --viewers 5000 --schedule burst --over 1s --duration 15s --video-kbit 936 --audio-kbit 64 --gop 1s
    pairs "1000 LL-HLS viewers" balanced ll-hls --ll-hls-viewers 1000 --duration 24s "${viewers[@]}"
    pairs "1500 publishers" balanced publishers --publishers 1500 --viewers 20 --rtmp-viewers 0 --over 2s --duration 16s --video-kbit 540 --audio-kbit 60
    python3 "$here/against.py" "$found" || status=1
    [[ -z ${AGAINST_LOADS:-} ]] || return $status
    local turn
    for turn in base now; do
        choose $turn
        start balanced 1
        echo "against: memory, $turn"
        python3 "$here/cycles.py" 29361 29362 "$server" || status=1
        stop
    done
    binary=
    return $status
}

choose() { [[ $1 == base ]] && binary=$base || binary=; }

# pairs NAME POLICY PRESET FLAG...: the load on both servers, in turns of both orders.
pairs() {
    local name=$1 policy=$2 round turn order
    shift 2
    [[ $name =~ ${AGAINST_LOADS:-.} ]] || return 0
    for round in $(seq "$rounds"); do
        order="base now"
        [[ $((round % 2)) -eq 1 ]] || order="now base"
        for turn in $order; do
            choose "$turn"
            start "$policy" 1
            local before after
            before=$(cpu_ticks)
            load "$name, $turn" "$@"
            after=$(cpu_ticks)
            printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$turn" "$cost" "$((after - before))" "$delay" >>"$found"
            stop
        done
    done
    binary=
}

# Processor time of the server, in ticks of the kernel.
cpu_ticks() { awk '{print $14 + $15}' "/proc/$server/stat"; }
