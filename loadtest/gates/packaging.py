"""CPU of packaging: packaging.py HTTP-PORT PID SECONDS STREAMS ask|leave

Measures a server's CPU time for so long, while streams `pack-0`, `pack-1`... are published to it, and prints the share of a core. With `ask`, a player each
polls the playlists of every stream, which makes the server cut them into parts and segments.
"""
import os
import sys
import threading
import time
import urllib.request


def cpu_s(pid):
    ns = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as stat:
            ns += int(stat.read().split()[0])
    return ns / 1e9


def poll(port, streams):
    for n in range(streams):
        for name in ("video.m3u8", "audio.m3u8"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/pack-{n}/{name}", timeout=10).read()


def main():
    port, pid, seconds, streams = (int(word) for word in sys.argv[1:5])
    asks = sys.argv[5] == "ask"
    if asks:
        poll(port, streams)
    from_s, start = cpu_s(pid), time.monotonic()
    end = start + seconds
    while asks and time.monotonic() + 2 < end:
        time.sleep(2)
        threading.Thread(target=poll, args=(port, streams)).start()
    time.sleep(max(0, end - time.monotonic()))
    print(f"{(cpu_s(pid) - from_s) / (time.monotonic() - start):.5f}")


main()
