"""CPU per request, beside nginx: requests.py HTTP-PORT SERVER-PID NGINX-PORT NGINX-PID NGINX-ROOT STREAM

The newest whole segment of a stream, its first part and its playlist are copied to where nginx serves files from, and asked for again and again over
connections that stay open, by turns from both. Prints the CPU time of either server per request, the median of five rounds. Exit status 1 where
the server needs more than 1.1 times what nginx needs.
"""
import os
import re
import socket
import statistics
import sys
import urllib.request

CONNECTIONS = 16
ROUNDS = 5
RATIO_MAX = 1.1


def cpu_ns(pid):
    """Time on a core of all threads of a process."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as stat:
            total += int(stat.read().split()[0])
    return total


class Client:
    def __init__(self, port):
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
        self.room = bytearray(4 << 20)

    def answer(self, one, length):
        """Reads one answer; its body has that many bytes."""
        view, got, end = memoryview(self.room), 0, None
        while end is None or got < end + length:
            count = one.recv_into(view[got:])
            if count == 0:
                raise RuntimeError("closed")
            got += count
            if end is None:
                at = self.room.find(b"\r\n\r\n", 0, got)
                if at >= 0:
                    end = at + 4
                    if not self.room.startswith(b"HTTP/1.1 200 "):
                        raise RuntimeError(bytes(self.room[:at]).decode())
        if got != end + length:
            raise RuntimeError(f"{got - end} bytes of {length}")

    def ask(self, path, length, times):
        request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        for _ in range(times // CONNECTIONS):
            for one in self.sockets:
                one.sendall(request)
            for one in self.sockets:
                self.answer(one, length)
        return times // CONNECTIONS * CONNECTIONS


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read()


def main():
    port, pid, nginx_port, nginx_pid = (int(word) for word in sys.argv[1:5])
    root, stream = sys.argv[5:7]
    playlist = get(port, f"/{stream}/video.m3u8").decode()
    # The last segment that is whole and has its parts listed, and the first of those: one with a keyframe.
    whole = re.findall(r"(?:#EXT-X-PART:[^\n]*\n)+#EXTINF:[^\n]*\n([^#\n]+)\n", playlist)[-1]
    before = playlist[: playlist.index("\n" + whole)]
    parts = re.findall(r'#EXT-X-PART:[^\n]*URI="([^"]+)"', before[before.rindex("INDEPENDENT=YES") - 200 :])
    files = {"segment": (f"/{stream}/{whole}", 1_600), "part": (f"/{stream}/{parts[-1]}", 8_000), "playlist": (f"/{stream}/video.m3u8", 16_000)}
    worst = 0
    for name, (path, times) in files.items():
        body = get(port, path)
        with open(f"{root}/{name}", "wb") as file:
            file.write(body)
        sides = [(Client(port), path, pid, []), (Client(nginx_port), f"/{name}", nginx_pid, [])]
        for client, url, *_ in sides:
            client.ask(url, len(body), times // 10)
        for turn in range(ROUNDS):
            for client, url, process, found in sides if turn % 2 == 0 else sides[::-1]:
                from_ns = cpu_ns(process)
                asked = client.ask(url, len(body), times)
                found.append((cpu_ns(process) - from_ns) / asked / 1_000)
        ours, theirs = (statistics.median(found) for *_, found in sides)
        worst = max(worst, ours / theirs)
        print(f"{name} of {len(body)} bytes: {ours:.1f} us a request, nginx {theirs:.1f} us: {ours / theirs:.2f}x", flush=True)
    if worst > RATIO_MAX:
        sys.exit(f"that is more than {RATIO_MAX} times what nginx needs")


main()
