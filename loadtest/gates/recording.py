"""Recordings under load: recording.py streams PORT DATA-DIR COUNT on|off; recording.py cpu PID SECONDS; recording.py stored PORT DATA-DIR COUNT

`streams` makes the streams `rec-0`, `rec-1`... at a server's control API, recorded or not. `cpu` measures a server's CPU time for so long, and prints the
share of a core that each kind of thread took, what is resident, and the most bytes the spool held. `stored` waits until all that was recorded is in the
store, and prints what it is; exit status 1 where a recording has a gap or is not stored in time.
"""
import collections
import json
import os
import sys
import time
import urllib.request

STORED_WITHIN_S = 120


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


def measure(pid, seconds):
    before, start = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - start
    after = cpu_s(pid)
    shares = {kind: (after[kind] - before[kind]) / took for kind in after}
    print(json.dumps({"core": sum(shares.values()), "threads": shares, "rss_mib": resident_mib(pid)}))


def recordings(port, data):
    found, cursor = [], ""
    while True:
        page = ask(port, data, "GET", f"/recordings?limit=100{cursor}")
        found += page["items"]
        if not page.get("next"):
            return found
        cursor = f"&cursor={page['next']}"


def stored(port, data, count):
    end = time.monotonic() + STORED_WITHIN_S
    while time.monotonic() < end:
        found = recordings(port, data)
        if len(found) >= count and all(one["state"] == "stored" for one in found):
            break
        time.sleep(0.5)
    states = collections.Counter(one["state"] for one in found)
    gaps = sum(len(one.get("gaps") or []) for one in found)
    seconds = sum(one.get("duration_ms") or 0 for one in found) / 1e3
    size = sum(one.get("bytes") or 0 for one in found)
    print(f"    {len(found)} recordings ({dict(states)}), {gaps} gaps, {seconds:.0f} s and {size / 1e6:.0f} MB in all")
    sys.exit(0 if states == {"stored": count} and gaps == 0 else 1)


def main():
    what = sys.argv[1]
    if what == "streams":
        port, data, count, recorded = sys.argv[2:]
        for n in range(int(count)):
            # Objects are whole and go to the store while it is measured.
            settings = {"isOnDemand": recorded == "on", "ondemand_time": 6}
            ask(port, data, "POST", "/streams", {"id": f"rec-{n}", "settings": settings})
    elif what == "cpu":
        measure(int(sys.argv[2]), float(sys.argv[3]))
    elif what == "stored":
        stored(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))


main()
