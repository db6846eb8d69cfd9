"""Memory of a server after many short sessions: cycles.py RTMP-PORT HTTP-PORT PID

Each cycle is a publisher of a stream and a viewer of it that come, see a picture and go. Exit status 1 where 10,000 cycles have left more than 4 MiB
beyond what 1,000 had.
"""
import socket
import struct
import sys
import time


def amf(value):
    if value is None:
        return b"\x05"
    if isinstance(value, str):
        return b"\x02" + struct.pack(">H", len(value)) + value.encode()
    if isinstance(value, dict):
        fields = (struct.pack(">H", len(k)) + k.encode() + amf(v) for k, v in value.items())
        return b"\x03" + b"".join(fields) + b"\0\0\x09"
    return b"\0" + struct.pack(">d", value)


def message(kind, body, stream=0, stamp=0):
    head = b"\x03" + struct.pack(">I", stamp)[1:] + struct.pack(">I", len(body))[1:] + bytes([kind]) + struct.pack("<I", stream)
    return head + b"\xc3".join(body[at : at + 128] for at in range(0, len(body), 128))


def command(*values, stream=0):
    return message(20, b"".join(map(amf, values)), stream)


PICTURES = b"".join(
    [
        message(9, bytes.fromhex("1700000000014d401effe1000f674d401e965602c1225c9000000301000468ee3c80"), 1),
        # Both tracks are known at once, so that viewers need not wait for another.
        message(8, bytes.fromhex("af001210"), 1),
        message(8, b"\xaf\x01" + b"a" * 20, 1),
        *(message(9, b"\x17\x01\0\0\0" + b"\x65" * 400, 1, 40 * n) for n in range(20)),
    ]
)


def cycle(rtmp_port, http_port, name):
    with socket.create_connection(("127.0.0.1", rtmp_port)) as publisher:
        publisher.settimeout(10)
        publisher.sendall(
            b"\x03" + bytes(1536) + bytes(1536)
            + command("connect", 1, {"app": "stream", "tcUrl": "rtmp://127.0.0.1/stream"})
            + command("createStream", 2, None)
            + command("publish", 3, None, name, "live", stream=1)
            + PICTURES
        )
        heard = b""
        while b"NetStream.Publish.Start" not in heard:
            more = publisher.recv(65536)
            if not more:
                raise RuntimeError("the publisher was sent away")
            heard += more
        with socket.create_connection(("127.0.0.1", http_port)) as viewer:
            viewer.settimeout(10)
            viewer.sendall(f"GET /{name}/live.flv HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            seen = b""
            while b"e" * 400 not in seen:
                more = viewer.recv(65536)
                if not more:
                    raise RuntimeError(f"the viewer was sent away: {seen[:200]!r}")
                seen += more


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def main():
    rtmp_port, http_port, pid = sys.argv[1:]
    held = {}
    for n in range(1, 10_001):
        cycle(int(rtmp_port), int(http_port), f"cycle-{n % 50}")
        if n in (1_000, 10_000):
            # Streams wait for their publisher for ten seconds; then their logs go, and soon their memory.
            time.sleep(15)
            held[n] = resident_kib(pid)
    grown = held[10_000] - held[1_000]
    print(f"resident after 1,000 and 10,000 sessions of publisher and viewer: {held[1_000]} and {held[10_000]} KiB, grown by {grown} KiB")
    if grown > 4096:
        sys.exit("that is more than 4 MiB")


main()
