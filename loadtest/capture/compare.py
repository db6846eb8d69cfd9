"""Delay of pictures by a packet capture, beside what a load test says of the same viewers: compare.py PACKETS REPORT

Knows nothing of the load test but the mark in its pictures: each carries the wall-clock time that it was planned for. A picture has arrived with
the packet that brings the last byte of its tag. Reads pcap as tcpdump writes it for `lo`; exit status 1 where the two differ by more than 2 ms.
"""
import json
import struct
import sys

MARK = b"millstream-load1"
TOLERANCE_MS = 2.0


def packets(path):
    """(time in microseconds, flow, sequence number, payload) of each TCP segment."""
    with open(path, "rb") as file:
        head = file.read(24)
        order = "<" if head[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        nanos = head[:4] in (b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d")
        while record := file.read(16):
            seconds, fraction, length, _ = struct.unpack(order + "IIII", record)
            frame = file.read(length)
            ip = frame[14:]
            if frame[12:14] != b"\x08\x00" or ip[9] != 6:
                continue
            tcp = ip[(ip[0] & 15) * 4 : int.from_bytes(ip[2:4], "big")]
            flow = ip[12:20] + tcp[:4]
            sequence = int.from_bytes(tcp[4:8], "big")
            payload = tcp[(tcp[12] >> 4) * 4 :]
            yield seconds * 1_000_000 + fraction // (1000 if nanos else 1), flow, sequence, payload, tcp[13] & 2


def streams(path):
    """Each flow's bytes in order, and the time at which they were whole up to each offset: [(end offset, time)]."""
    flows = {}
    for at, flow, sequence, payload, syn in packets(path):
        if syn:
            flows[flow] = {"base": sequence + 1, "bytes": bytearray(), "ends": [], "later": {}}
        if flow not in flows or not payload:
            continue
        state = flows[flow]
        state["later"].setdefault((sequence - state["base"]) & 0xFFFFFFFF, payload)
        while (next_ := len(state["bytes"])) in state["later"]:
            state["bytes"] += state["later"].pop(next_)
            state["ends"].append((len(state["bytes"]), at))
    for state in flows.values():
        yield bytes(state["bytes"]), state["ends"]


def dechunk(raw):
    """The body of a chunked response, and where in `raw` each piece of it lies: [(body offset, raw offset)]."""
    at = raw.index(b"\r\n\r\n") + 4
    body, places = bytearray(), []
    while (line := raw.find(b"\r\n", at)) >= 0:
        size = int(raw[at:line], 16)
        if size == 0 or line + 2 + size > len(raw):
            break
        places.append((len(body), line + 2))
        body += raw[line + 2 : line + 2 + size]
        at = line + 2 + size + 2
    return bytes(body), places


def delays_ms(raw, ends):
    """Delay of each picture of one viewer, the first second left out: that is the backlog that it starts with."""
    body, places = dechunk(raw)
    at, place, end, first = 13, 0, 0, None
    while at + 15 <= len(body):
        size = int.from_bytes(body[at + 1 : at + 4], "big")
        done = at + 11 + size
        mark = body.find(MARK, at, min(done, at + 96))
        if done <= len(body) and mark >= 0:
            planned = int(body[mark + 16 : mark + 32], 16)
            while place + 1 < len(places) and places[place + 1][0] < done:
                place += 1
            raw_end = places[place][1] + done - places[place][0]
            while ends[end][0] < raw_end:
                end += 1
            arrived = ends[end][1]
            first = first or arrived
            if arrived - first > 1_000_000:
                yield (arrived - planned) / 1000
        at = done + 4


def main():
    capture, report = sys.argv[1:]
    seen = sorted(delay for raw, ends in streams(capture) if b"\r\n\r\n" in raw for delay in delays_ms(raw, ends))
    told = json.load(open(report, encoding="utf-8"))["ms"]["video"]
    if len(seen) < 1000:
        sys.exit(f"the capture holds {len(seen)} pictures only")
    print(f"pictures: {len(seen)} in the capture, {told['count']} in the load test's report")
    print("milliseconds   capture  load test  difference")
    worst = 0.0
    for name, quantile in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        mine = seen[min(len(seen) - 1, int(quantile * len(seen)))]
        worst = max(worst, abs(mine - told[name]))
        print(f"{name:<12} {mine:9.2f} {told[name]:10.2f} {told[name] - mine:11.2f}")
    print(f"{'max':<12} {seen[-1]:9.2f} {told['max']:10.2f}")
    if worst > TOLERANCE_MS:
        sys.exit(f"they differ by {worst:.2f} ms: more than {TOLERANCE_MS}")


main()
