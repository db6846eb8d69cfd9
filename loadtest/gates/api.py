"""How long the control API takes to answer: api.py NAME=PORT:DATA-DIR [NAME=PORT:DATA-DIR]

Streams are made, read, listed, given new keys and removed over eight connections that stay open, each with one request at a time: by turns at either
server, where there are two. Prints the times of each kind of request, the median of the rounds' p50 and of their p99. Exit status 1 where the second
server needs more than 1.1 times what the first one needs at p99, in one kind of request or more; a difference below a tenth of a millisecond is none.
"""
import json
import selectors
import socket
import statistics
import sys
import time

CONNECTIONS = 8
ROUNDS = 21
# Requests of a kind in a round.
TIMES = 480
# Streams that are there all the time: what a list is made of.
STANDING = 200
RATIO_MAX = 1.1
DIFFERENCE_MIN_MS = 0.1


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got, self.sent_at = b"", 0.0

    def send(self, request):
        self.got, self.sent_at = b"", time.perf_counter()
        self.socket.sendall(request)

    def receive(self):
        """Reads what there is; the status of the answer once that is whole."""
        more = self.socket.recv(1 << 20)
        if not more:
            raise RuntimeError(f"closed after {self.got[:200]!r}")
        self.got += more
        head, end, body = self.got.partition(b"\r\n\r\n")
        if not end:
            return None
        status, length = int(head[9:12]), 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            elif name.lower() == b"transfer-encoding":
                raise RuntimeError("an answer without its length")
        return status if len(body) == length else None


class Server:
    def __init__(self, text):
        self.name, _, where = text.partition("=")
        port, _, data_dir = where.partition(":")
        with open(f"{data_dir}/admin-token", encoding="ascii") as file:
            self.token = file.read().strip()
        self.connections = [Connection(int(port)) for _ in range(CONNECTIONS)]
        self.rounds = {}

    def request(self, method, path, body=None, more=""):
        text = "" if body is None else json.dumps(body)
        kind = "Content-Type: application/json\r\n" if body is not None else ""
        length = f"Content-Length: {len(text)}\r\n" if body is not None else ""
        head = f"{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n{kind}{length}{more}\r\n"
        return (head + text).encode()

    def ask(self, requests, expected):
        """Milliseconds that each of them took."""
        times, waiting = [], list(reversed(requests))
        with selectors.DefaultSelector() as ready:
            for one in self.connections[: len(requests)]:
                ready.register(one.socket, selectors.EVENT_READ, one)
                one.send(waiting.pop())
            while len(times) < len(requests):
                for key, _ in ready.select(timeout=30):
                    one = key.data
                    status = one.receive()
                    if status is None:
                        continue
                    times.append((time.perf_counter() - one.sent_at) * 1_000)
                    if status != expected:
                        raise RuntimeError(f"{self.name}: {status} instead of {expected}: {one.got[:500]!r}")
                    if waiting:
                        one.send(waiting.pop())
                    else:
                        ready.unregister(one.socket)
        return times

    def prepare(self):
        made = [self.request("POST", "/streams", {"id": f"standing-{n}"}) for n in range(STANDING)]
        self.ask(made, 201)

    def round(self, number):
        ids = [f"r{number}-{n}" for n in range(TIMES)]
        kinds = {
            "create": ([self.request("POST", "/streams", {"id": id}) for id in ids], 201),
            "get": ([self.request("GET", f"/streams/{id}") for id in ids], 200),
            "list": ([self.request("GET", "/streams?limit=50")] * TIMES, 200),
            "rotate": ([self.request("POST", f"/streams/{id}/key", {"grace_s": 0}) for id in ids], 200),
            "delete": ([self.request("DELETE", f"/streams/{id}", more="If-Match: *\r\n") for id in ids], 204),
        }
        for kind, (requests, expected) in kinds.items():
            times = sorted(self.ask(requests, expected))
            p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
            # The first round finds everything cold.
            if number > 0:
                self.rounds.setdefault(kind, []).append((p50, p99))

    def found(self, kind):
        p50s, p99s = zip(*self.rounds[kind])
        return statistics.median(p50s), statistics.median(p99s)


def main():
    servers = [Server(text) for text in sys.argv[1:]]
    for server in servers:
        server.prepare()
    for number in range(ROUNDS + 1):
        for server in servers if number % 2 == 0 else servers[::-1]:
            server.round(number)
    slower = []
    for kind in servers[0].rounds:
        figures = [server.found(kind) for server in servers]
        line = ", ".join(f"{server.name} p50 {p50:.2f} p99 {p99:.2f} ms" for server, (p50, p99) in zip(servers, figures))
        if len(servers) == 2:
            ratios = [after / before for before, after in zip(*figures)]
            line += f": {ratios[0]:.2f}x and {ratios[1]:.2f}x"
            if ratios[1] > RATIO_MAX and figures[1][1] - figures[0][1] > DIFFERENCE_MIN_MS:
                slower.append(kind)
        print(f"{kind}: {line}", flush=True)
    if slower:
        sys.exit(f"more than {RATIO_MAX} times as slow at p99: {', '.join(slower)}")


main()
