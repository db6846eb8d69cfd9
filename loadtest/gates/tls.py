"""Viewers over TLS, by h2load (nghttp2), which speaks HTTP/1.1 and HTTP/2 and keeps up with thousands of streams on a core.

    tls.py viewers PID CONTROL_PORT URL VIEWERS SECONDS [h1]   CPU that a process takes for what the server sends, as JSON
    tls.py files PID URL SECONDS [h1]                          the same for a file that is asked for again and again
    tls.py idle PID CONTROL_PORT URL VIEWERS SECONDS [h1]      memory of viewers to whom nothing is sent
    tls.py result WORDS...                                     the lines of a run, from words like plain=0.41,0.40

PID is whose CPU counts: the server, or nginx's worker in front of it."""
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request

TICKS_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def metric(port, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(name + r"[{ ]", line))


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def h2load(url, clients, *more):
    command = ["taskset", "-c", "1", "h2load", "-c", str(clients), "-m", "1", "-t", "1", *more, url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def viewers(pid, control, url, count, seconds, *mode):
    count, seconds = int(count), int(seconds)
    before_kib = resident_kib(pid)
    # All come at once.
    came = count / 400 + 2
    over = ["--h1"] if "h1" in mode else []
    load = h2load(url, count, "-D", str(int(seconds + came + 3)), *over)
    time.sleep(came)
    began, cpu, sent = time.monotonic(), cpu_s(pid), metric(control, "millstream_sent_bytes_total")
    time.sleep(seconds)
    there = metric(control, "millstream_viewers")
    took_s, cpu, sent = time.monotonic() - began, cpu_s(pid) - cpu, metric(control, "millstream_sent_bytes_total") - sent
    held_kib = resident_kib(pid) - before_kib
    load.wait(timeout=60)
    print(json.dumps({
        "viewers": there, "gb": round(sent / 1e9, 3), "core": round(cpu / took_s, 3), "s_per_gb": round(cpu / (sent / 1e9), 4),
        "kib_each": round(held_kib / max(there, 1), 1),
    }))


def files(pid, url, seconds, *mode):
    over = ["--h1"] if "h1" in mode else []
    cpu = cpu_s(pid)
    out = h2load(url, 20, "-D", seconds, *over).communicate(timeout=120)[0]
    cpu = cpu_s(pid) - cpu
    done = int(re.search(r"(\d+) succeeded", out).group(1))
    data = float(re.search(r"\((\d+)\) data", out).group(1))
    print(json.dumps({"requests": done, "us_each": round(cpu / done * 1e6, 1), "s_per_gb": round(cpu / (data / 1e9), 4)}))


def idle(pid, control, url, count, seconds, *mode):
    count, seconds = int(count), int(seconds)
    before_kib = resident_kib(pid)
    over = ["--h1"] if "h1" in mode else []
    came = count / 250 + 2
    load = h2load(url, count, "-D", str(int(came + seconds + 4)), *over)
    # All have come and been sent what there was; freed memory has gone back.
    time.sleep(came + seconds)
    there, sent = metric(control, "millstream_viewers"), metric(control, "millstream_sent_bytes_total")
    held_kib = resident_kib(pid) - before_kib
    time.sleep(1)
    sent = metric(control, "millstream_sent_bytes_total") - sent
    load.wait(timeout=60)
    print(json.dumps({"viewers": there, "kib_each": round(held_kib / max(there, 1), 2), "bytes_each_s": round(sent / max(there, 1), 1)}))


def result(*words):
    costs = {name: statistics.median(map(float, values.split(","))) for name, values in (word.split("=") for word in words)}
    for name, cost in costs.items():
        print(f"    {name}: {cost:.3f} CPU-s/GB, {cost / costs['plain']:.2f} of plain")


if __name__ == "__main__":
    {"viewers": viewers, "files": files, "idle": idle, "result": result}[sys.argv[1]](*sys.argv[2:])
