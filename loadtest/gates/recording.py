"""Recordings under load: recording.py streams PORT DATA-DIR COUNT on|off; recording.py cpu PID PORT SECONDS; recording.py stored PORT DATA-DIR COUNT SECONDS; recording.py result COUNT WITH WITHOUT

`streams` makes the streams `rec-0`, `rec-1`... at a server's control API, recorded or not. `cpu` measures a server's CPU time for so long, and prints the
share of a core that each kind of thread took, and what is resident besides the most that logs and windows held meanwhile. `stored` waits until all that was recorded is in the
store, and prints what it is; exit status 1 where something was not recorded by the server's own counters, a recording is shorter than what was pushed
(SECONDS), or one is not stored in time. `result` holds turns with recording against those without, each a word of a delay in ms and
what `cpu` printed; exit status 1 where an aim is missed.
"""
import collections
import json
import os
import statistics
import sys
import time
import urllib.request

STORED_WITHIN_S = 120
# Publishers do not all begin at once, and a recording begins with a keyframe.
SHORTER_MOST_S = 8
HELD_EVERY_S = 0.2
# Counters of what a recording lacks, or of what was not told: none of them may move. A queue that was full is no loss by itself: `lost` is.
LOSSES = (
    "millstream_recorder_gaps_total", "millstream_recorder_lost_total", "millstream_recorder_parts_left_out_total", "millstream_recorder_disk_errors_total",
    "millstream_recorder_damaged_objects_total", "millstream_recorder_damaged_segments_total", "millstream_recorder_events_lost_total",
    "millstream_recordings_paused_total", "millstream_recordings_refused_total",
)
# What a recorded stream may take: a share of a core with packaging, viewers' added delay, and memory beside its log and window.
CORE_MOST, DELAY_MOST_MS, MEMORY_MOST_KIB = 0.006, 10, 256


def ask(port, data, method, path, body=None):
    with open(f"{data}/admin-token", encoding="ascii") as file:
        headers = {"Authorization": f"Bearer {file.read().strip()}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1{path}", None if body is None else json.dumps(body).encode(), headers, method=method
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def cpu_s(pid):
    """CPU seconds by kind of thread."""
    kinds = collections.Counter()
    for thread in os.listdir(f"/proc/{pid}/task"):
        at = f"/proc/{pid}/task/{thread}"
        try:
            with open(f"{at}/comm", encoding="ascii") as name, open(f"{at}/schedstat", encoding="ascii") as stat:
                kinds[name.read().strip().rstrip("0123456789")] += int(stat.read().split()[0]) / 1e9
        except FileNotFoundError:
            pass
    return kinds


def resident_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS:"))


def metrics(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return answer.read().decode().splitlines()


def held_mib(port):
    """What is in the logs and windows of streams."""
    names = ("millstream_log_bytes", "millstream_hls_bytes")
    return sum(float(line.rsplit(" ", 1)[1]) for line in metrics(port) if line.startswith(names)) / 2**20


def losses(port):
    """Counters of losses that are not 0; one that is not told at all is an error."""
    told = dict(line.rsplit(" ", 1) for line in metrics(port) if line.startswith("millstream_record"))
    return {name: float(told[name]) for name in LOSSES if float(told[name]) > 0}


def measure(pid, port, seconds):
    before, start, held = cpu_s(pid), time.monotonic(), 0
    # The publishers begin a group of pictures at the same time, and logs let go of one: what they hold goes up and down by a fifth, and the allocator keeps
    # room for the most.
    while (took := time.monotonic() - start) < seconds:
        held = max(held, held_mib(port))
        time.sleep(HELD_EVERY_S)
    after = cpu_s(pid)
    shares = {kind: (after[kind] - before[kind]) / took for kind in after}
    resident = resident_mib(pid)
    shares = {kind: round(share, 4) for kind, share in shares.items() if share > 0.001}
    print(json.dumps({"core": round(sum(shares.values()), 4), "threads": shares, "rss_mib": round(resident, 1), "beside_mib": round(resident - held, 1)}))


def recordings(port, data):
    found, cursor = [], ""
    while True:
        page = ask(port, data, "GET", f"/recordings?limit=100{cursor}")
        found += page["items"]
        if not page.get("next"):
            return found
        cursor = f"&cursor={page['next']}"


def stored(port, data, count, pushed_s):
    end = time.monotonic() + STORED_WITHIN_S
    while True:
        found = recordings(port, data)
        if len(found) >= count and all(one["state"] == "stored" for one in found) or time.monotonic() > end:
            break
        time.sleep(0.5)
    states = collections.Counter(one["state"] for one in found)
    lengths = [(one.get("duration_ms") or 0) / 1e3 for one in found]
    short = [length for length in lengths if length < pushed_s - SHORTER_MOST_S]
    size = sum(one.get("bytes") or 0 for one in found)
    lost = losses(port)
    print(f"    {len(found)} recordings ({dict(states)}) of {min(lengths, default=0):.1f} to {max(lengths, default=0):.1f} s, {size / 1e6:.0f} MB in all")
    if lost:
        print(f"    not recorded: {lost}")
    if short:
        print(f"    {len(short)} recordings are shorter than {pushed_s - SHORTER_MOST_S} s: streams were pushed for {pushed_s} s")
    sys.exit(0 if states == {"stored": count} and not lost and not short else 1)


def result(count, with_recording, without):
    def medians(words):
        turns = [word.split(":", 1) for word in words.split()]
        said = [json.loads(cpu) for _, cpu in turns]
        return [statistics.median(values) for values in ([float(ms) for ms, _ in turns], *([one[key] for one in said] for key in ("core", "beside_mib")))]

    (delay, core, beside), (delay_before, core_before, beside_before) = medians(with_recording), medians(without)
    each, memory_kib = (core - core_before) / count, (beside - beside_before) * 1024 / count
    print(f"recording: {each:.3%} of a core per stream with packaging, {memory_kib:.0f} KiB per stream beside logs and windows; "
          f"viewers' delay p99 {delay:.1f} ms beside {delay_before:.1f} ms without: {delay - delay_before:+.1f} ms")
    if each > CORE_MOST or delay - delay_before > DELAY_MOST_MS or memory_kib > MEMORY_MOST_KIB:
        sys.exit(f"the aims are {CORE_MOST:.1%}, {MEMORY_MOST_KIB} KiB and {DELAY_MOST_MS} ms")


def main():
    what = sys.argv[1]
    if what == "streams":
        port, data, count, recorded = sys.argv[2:]
        for n in range(int(count)):
            # Objects are whole and go to the store while it is measured.
            settings = {"isOnDemand": recorded == "on", "ondemand_time": 6}
            ask(port, data, "POST", "/streams", {"id": f"rec-{n}", "settings": settings})
    elif what == "cpu":
        measure(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    elif what == "result":
        result(int(sys.argv[2]), sys.argv[3], sys.argv[4])
    elif what == "stored":
        stored(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))


main()
