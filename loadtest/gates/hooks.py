"""Hooks of a server of these gates, through its control API: hooks.py PORT DATA-DIR GUESTS-DIR WHAT...

    bind COUNT      makes so many hooks of different modules that admit everybody, and binds each at publish and play
    compile SECONDS uploads one module after another for so long; prints how many
    started PORT    waits for the HTTP port's first decision by the hooks; prints when that was, Unix seconds
"""
import json
import sys
import time
import urllib.error
import urllib.request


def section(number):
    """A custom section that says a number: it makes another module of the same code."""
    content = b"\x04gate" + str(number).encode()
    return b"\x00" + bytes([len(content)]) + content


class Api:
    def __init__(self, port, data_dir):
        self.base = f"http://127.0.0.1:{port}/api/v1"
        with open(f"{data_dir}/admin-token", encoding="ascii") as file:
            self.token = file.read().strip()

    def ask(self, method, path, body, kind="application/json"):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            sys.exit(f"{method} {path}: {error.code} {error.read()[:500]!r}")


def main():
    port, data_dir, guests, what, value = sys.argv[1:]
    if what == "started":
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{value}/nobody/live.flv", timeout=10) as answer:
                    status = answer.status
            except urllib.error.HTTPError as error:
                status = error.code
            except OSError:
                time.sleep(0.005)
                continue
            # Admitted, and not on air; 503 while a hook cannot decide.
            if status == 404:
                print(f"{time.time():.3f}")
                return
            time.sleep(0.005)
    api = Api(port, data_dir)
    name = "allow-list" if what == "bind" else "jwt"
    with open(f"{guests}/{name}.wasm", "rb") as file:
        module = file.read()
    if what == "bind":
        for number in range(int(value)):
            hook = f"gate-{number}"
            api.ask("PUT", f"/hooks/{hook}", {"kind": "auth"})
            api.ask("POST", f"/hooks/{hook}/versions", module + section(number), "application/wasm")
            # All but the last one pass the question on.
            last = number + 1 == int(value)
            config = {"allow": "127.0.0.0/8"} | ({} if last else {"pass": "next"})
            for point in ("publish", "play"):
                binding = {"hook": hook, "point": point, "mode": "live", "order": number, "config": config}
                api.ask("POST", "/hook-bindings", binding)
    elif what == "compile":
        api.ask("PUT", "/hooks/compiled", {"kind": "auth"})
        until, count = time.monotonic() + float(value), 0
        while time.monotonic() < until:
            api.ask("POST", "/hooks/compiled/versions", module + section(count), "application/wasm")
            count += 1
        print(count)
    else:
        sys.exit(__doc__)


main()
