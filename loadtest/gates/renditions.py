#!/usr/bin/env python3
"""What renditions cost and how late they are: starts a server of its own, pushes files with ffmpeg, prints a line for each figure, and judges it.

    renditions.py MILLSTREAM [ladder] [three] [first] [pairs] [snapshots] [cycles]      (default: all)

CPU is what /proc says of the server and of its worker. Delays are between two viewers of one machine: of the same frame in the source and in a rendition,
which have the same stamp. A machine that does other work makes delays longer and CPU seconds some percent more. `three` has its server and worker on one core
alone. Exit status 1 where a figure is not within its bound: each is said in a line that begins with FAILED.
"""
import asyncio
import hashlib
import http.client
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

HTTP, RTMP, CONTROL = 29462, 29461, 29463
# How far a rendition may be behind its source, p99, milliseconds.
BEHIND_MS_MAX = 300
# How much later the frames of a source may come where a worker runs beside it, p99, milliseconds.
ADDED_MS_MAX = 10
# A snapshot on demand, p99, milliseconds.
SNAPSHOT_MS_MAX = 300
# A rendition that keeps up has this share of its source's frames.
KEPT_UP = 0.985
# What a worker may take for three renditions of 720p30, cores.
LADDER_CORES_MAX = 1.1
# And how far the frames a second of each may be below the source's, as a share of these.
LADDER_RATE_BELOW_MAX = 0.02
# How soon the first part of a rendition that nobody watched is there after it was asked for, milliseconds.
FIRST_MS_MAX = 1000
failed = []
TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    """CPU seconds of a process."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def children(pid):
    """Processes that a process has started."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except OSError:
            pass
    return found


def cpu_below(pid):
    """CPU seconds of a process and of all that it has started: decoders may be processes of their own."""
    return cpu(pid) + sum(cpu_below(child) for child in children(pid))


def judge(is_so, what):
    """Says a bound that is not kept."""
    if not is_so:
        failed.append(what)
        print(f"FAILED: {what}", flush=True)


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else float("nan")


class Server:
    """A running server with these streams, all of them with these renditions."""

    def __init__(self, binary, scratch, streams, renditions="ld sd hd", cores=None):
        wanted = "".join(f"{name} = true\n" for name in renditions.split())
        codec = "isCodec = true\n" if renditions else ""
        text = "[stream_defaults]\non_unpublish = \"end\"\n[limits]\nper_address = 20000\nhandshakes = 20000\n"
        text += "".join(f'[[stream]]\nid = "{name}"\n{codec}{wanted}' for name in streams)
        config = scratch / "config.toml"
        config.write_text(text)
        self.log = (scratch / "server.log").open("a")
        ports = ["--rtmp", f"127.0.0.1:{RTMP}", "--http", f"127.0.0.1:{HTTP}", "--control", f"127.0.0.1:{CONTROL}"]
        data = tempfile.mkdtemp(dir=scratch)
        command = [binary, "serve", "--config", str(config), "--data-dir", data, "--auth", "open", "--shards", "1", *ports]
        bound = ["taskset", "-c", cores] if cores else []
        self.process = subprocess.Popen(bound + command, stderr=self.log, stdout=self.log)
        wait_for(lambda: get("/healthz")[0] == 200, "the server answers")

    @property
    def pid(self):
        return self.process.pid

    def worker(self):
        found = children(self.pid)
        return found[0] if found else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def wait_for(is_there, what, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if is_there():
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit(f"not within {seconds} s: {what}")


def get(path):
    """Status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", HTTP, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def clip(scratch, name, size, rate, bits, seconds=20):
    """A file to push: keyframes every two seconds, no B-frames."""
    file = scratch / f"{name}.flv"
    picture = f"testsrc2=size={size}:rate={rate},noise=alls=12:allf=t"
    arguments = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", str(seconds)]
    coding = ["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-b:v", bits, "-maxrate", bits]
    cut = ["-bufsize", bits, "-g", "60", "-keyint_min", "60", "-sc_threshold", "0", "-c:a", "aac", "-b:a", "96k", "-f", "flv", str(file)]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments, *coding, *cut], check=True)
    return file


class Push:
    """ffmpeg, which pushes a file again and again."""

    def __init__(self, file, stream):
        target = f"rtmp://127.0.0.1:{RTMP}/stream/{stream}"
        command = ["ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(file), "-c", "copy", "-f", "flv", target]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Viewer(threading.Thread):
    """Plays HTTP-FLV and writes down when each video frame came, by its stamp."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.frames, self.keyframes, self.over = path, {}, [], False
        self.start()

    def run(self):
        connection = socket.create_connection(("127.0.0.1", HTTP))
        # HTTP/1.0 has no chunks.
        connection.sendall(f"GET {self.path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        buffer, headed = bytearray(), False
        while not self.over:
            data = connection.recv(1 << 18)
            now = time.monotonic()
            if not data:
                return
            buffer += data
            if not headed:
                at = buffer.find(b"\r\n\r\n")
                # The head, and that of FLV.
                if at < 0 or len(buffer) < at + 4 + 13:
                    continue
                if not buffer.startswith(b"HTTP/1.1 200"):
                    sys.exit(f"{self.path}: {bytes(buffer[:at])}")
                del buffer[: at + 4 + 13]
                headed = True
            at = 0
            while len(buffer) - at >= 11:
                size = int.from_bytes(buffer[at + 1 : at + 4], "big")
                if len(buffer) - at < 15 + size:
                    break
                if buffer[at] == 9 and size > 2 and buffer[at + 12] == 1:
                    stamp = int.from_bytes(buffer[at + 4 : at + 7], "big") | buffer[at + 7] << 24
                    self.frames.setdefault(stamp, now)
                    if buffer[at + 11] >> 4 & 7 == 1:
                        self.keyframes.append(stamp)
                at += 15 + size
            del buffer[:at]


def on_air(*streams):
    for stream in streams:
        wait_for(lambda: get(f"/{stream}/video.m3u8")[0] == 200, f"{stream} is on air")


def watch(streams, renditions):
    """Viewers of sources, and of their renditions."""
    source = {stream: Viewer(f"/{stream}/live.flv") for stream in streams}
    small = [(stream, name, Viewer(f"/{stream}/{name}/live.flv")) for stream in streams for name in renditions]
    return source, small


def measured(server, source, small, seconds):
    """Delays of renditions behind their sources, CPU of server and worker in cores, frames a second of each rendition, and of the source of each."""
    # The beginning is behind on purpose: it comes from some seconds back.
    time.sleep(8)
    worker, began = server.worker(), time.monotonic()
    before = cpu(server.pid), cpu_below(worker)
    viewers = [viewer for _, _, viewer in small]
    counts = {viewer: len(viewer.frames) for viewer in [*source.values(), *viewers]}
    time.sleep(seconds)
    lasted = time.monotonic() - began
    still_watching(*counts)
    after = cpu(server.pid), cpu_below(worker)
    rate = {viewer: (len(viewer.frames) - count) / lasted for viewer, count in counts.items()}
    delays = []
    for stream, _, viewer in small:
        for stamp, came in list(viewer.frames.items()):
            sent = source[stream].frames.get(stamp)
            if sent is not None and came > began:
                delays.append((came - sent) * 1000)
    cores = [(now - then) / lasted for now, then in zip(after, before)]
    return delays, cores, [rate[viewer] for viewer in viewers], [rate[source[stream]] for stream, _, _ in small]


class Gone(Exception):
    """A viewer ended before its time."""


def still_watching(*viewers):
    """A viewer that ends tells nobody: a figure of fewer viewers is none."""
    gone = [viewer.path for viewer in viewers if not viewer.is_alive()]
    if gone:
        raise Gone(f"no longer watching: {gone}")


def shown(name, delays, cores, rates):
    print(
        f"{name}: worker {cores[1]:.2f} cores, server {cores[0]:.3f}; frames/s {' '.join(f'{rate:.1f}' for rate in rates)}; "
        f"behind the source p50 {percentile(delays, 50):.0f} p99 {percentile(delays, 99):.0f} max {max(delays, default=0):.0f} ms of {len(delays)} frames",
        flush=True,
    )


def ladder(binary, scratch):
    file = clip(scratch, "720p30", "1280x720", "30", "2500k")
    with Server(binary, scratch, ["cam"]) as server, Push(file, "cam"):
        on_air("cam")
        names = ["360p", "480p", "720p"]
        source, small = watch(["cam"], names)
        delays, cores, rates, wanted = measured(server, source, small, 30)
        shown("720p30 -> 360p + 480p + 720p", delays, cores, rates)
        judge(cores[1] <= LADDER_CORES_MAX, f"three renditions of 720p30 take at most {LADDER_CORES_MAX} cores of the worker: {cores[1]:.2f}")
        for name, rate, of_source in zip(names, rates, wanted):
            keeps_up = rate >= of_source * (1 - LADDER_RATE_BELOW_MAX)
            judge(keeps_up, f"{name} has the frames a second of its source, less {LADDER_RATE_BELOW_MAX:.0%} at most: {rate:.1f} of {of_source:.1f}")
        judge(percentile(delays, 99) <= BEHIND_MS_MAX, f"a rendition is at most {BEHIND_MS_MAX} ms behind its source at p99")
        # From where all viewers have begun to where none has ended.
        viewers = [source["cam"], *(viewer for _, _, viewer in small)]
        begin, end = max(min(viewer.frames) for viewer in viewers), min(max(viewer.frames) for viewer in viewers)
        keys = [{stamp for stamp in viewer.keyframes if begin <= stamp <= end} for viewer in viewers]
        same = all(own == keys[0] for own in keys)
        print(f"keyframes have their source's stamps: {same}, {len(keys[0])} of each")
        judge(same and keys[0], "keyframes of renditions have the stamps of their source's")


def three(binary, scratch):
    file = clip(scratch, "720p30", "1280x720", "30", "2500k")
    streams = ["cam1", "cam2", "cam3"]
    # What pushes and watches has another core, where there is one.
    all_cores = os.sched_getaffinity(0)
    one = min(all_cores)
    os.sched_setaffinity(0, all_cores - {one} or {one})
    try:
        on_one_core(binary, scratch, file, streams, one)
    finally:
        os.sched_setaffinity(0, all_cores)


def on_one_core(binary, scratch, file, streams, one):
    with Server(binary, scratch, streams, cores=str(one)) as server, Push(file, "cam1"), Push(file, "cam2"), Push(file, "cam3"):
        on_air(*streams)
        source, small = watch(streams, ["360p", "480p"])
        delays, cores, rates, _ = measured(server, source, small, 30)
        shown("three of 720p30 -> 360p + 480p on one core", delays, cores, rates)
        metrics = shed()
        judge(min(rates) >= 30 * KEPT_UP, f"each of six renditions of three sources has 30 frames/s on one core: {min(rates):.1f}")
        judge(metrics == 0, f"no rendition is given up: {metrics:.0f} were")
        judge(percentile(delays, 99) <= BEHIND_MS_MAX, f"they are at most {BEHIND_MS_MAX} ms behind their sources at p99")


def shed():
    """Renditions that were given up because the machine was too slow."""
    connection = http.client.HTTPConnection("127.0.0.1", CONTROL, timeout=30)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("millstream_renditions_shed_total "))


def first(binary, scratch):
    file = clip(scratch, "720p30", "1280x720", "30", "2500k")
    streams = [f"cam{number}" for number in range(5)]
    took = []
    with Server(binary, scratch, streams) as _:
        for stream in streams:
            with Push(file, stream):
                on_air(stream)
                time.sleep(6)
                began = time.monotonic()
                status, body = get(f"/{stream}/360p/video.m3u8")
                took.append((time.monotonic() - began) * 1000)
                if status != 200 or b"#EXT-X-PART:" not in body:
                    sys.exit(f"{status} {body}")
    print(f"first playlist with parts of a rendition that nobody watched: {' '.join(f'{ms:.0f}' for ms in took)} ms (the first with the start of the worker)")
    judge(max(took) <= FIRST_MS_MAX, f"the first part of a rendition is there within {FIRST_MS_MAX} ms after it was asked for: {max(took):.0f}")


def pairs(binary, scratch):
    """How much later than its stamp each frame of the source came, against the promptest: with a worker and without, in turn."""
    file = clip(scratch, "720p30", "1280x720", "30", "2500k")
    found = {True: [], False: []}
    for turn in range(4):
        with_worker = turn % 2 == 0
        with Server(binary, scratch, ["cam"]) as _, Push(file, "cam"):
            on_air("cam")
            viewer = Viewer("/cam/live.flv")
            small = [Viewer(f"/cam/{name}/live.flv") for name in ("360p", "480p")] if with_worker else []
            time.sleep(25)
            still_watching(viewer, *small)
            viewer.over = True
            late = [(came - stamp / 1000) * 1000 for stamp, came in list(viewer.frames.items())[150:]]
            found[with_worker].append(percentile([ms - min(late) for ms in late], 99))
            for other in small:
                other.over = True
    shown = {key: " ".join(f"{ms:.1f}" for ms in values) for key, values in found.items()}
    added = statistics.median(found[True]) - statistics.median(found[False])
    print(f"p99 of source frames' arrival behind the promptest: with a worker {shown[True]}, without {shown[False]} ms; {added:.1f} ms more")
    judge(added <= ADDED_MS_MAX, f"a worker adds at most {ADDED_MS_MAX} ms to the delay of source viewers at p99: {added:.1f}")


def snapshots(binary, scratch):
    file = clip(scratch, "720p30", "1280x720", "30", "2500k")

    async def ask(connected, go, took, pictures):
        reader, writer = await asyncio.open_connection("127.0.0.1", HTTP)
        connected.append(1)
        await go.wait()
        began = time.monotonic()
        writer.write(b"GET /cam/snapshot.jpg HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read(-1)
        took.append((time.monotonic() - began) * 1000)
        head, body = answer.split(b"\r\n\r\n", 1)
        pictures.append(hashlib.sha1(body).hexdigest() if b" 200 " in head[:20] else head[:60].decode())
        writer.close()

    async def crowd():
        connected, took, pictures, go = [], [], [], asyncio.Event()
        tasks = [asyncio.create_task(ask(connected, go, took, pictures)) for _ in range(1000)]
        while len(connected) < len(tasks):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        go.set()
        await asyncio.gather(*tasks)
        return took, pictures

    with Server(binary, scratch, ["cam"]) as _, Push(file, "cam"):
        on_air("cam")
        get("/cam/snapshot.jpg")
        for turn in range(3):
            time.sleep(3)
            took, pictures = asyncio.run(crowd())
            print(f"1,000 snapshots at once: {len(set(pictures))} picture(s), p50 {percentile(took, 50):.0f} p99 {percentile(took, 99):.0f} ms")
            judge(len(pictures) == 1000 and len(set(pictures)) == 1, f"1,000 who ask at once get one picture: {set(pictures)}")
        alone = []
        for _ in range(100):
            time.sleep(2.1)
            began = time.monotonic()
            status, body = get("/cam/snapshot.jpg")
            alone.append((time.monotonic() - began) * 1000)
            judge(status == 200 and body.startswith(b"\xff\xd8"), f"a snapshot on demand is a JPEG: {status}")
        p99 = percentile(alone, 99)
        print(f"a snapshot on demand, nobody else asking: p50 {percentile(alone, 50):.0f} p99 {p99:.0f} ms of {len(alone)}")
        judge(p99 <= SNAPSHOT_MS_MAX, f"a snapshot on demand is there within {SNAPSHOT_MS_MAX} ms at p99: {p99:.0f}")


def cycles(binary, scratch, count=200, beside=4):
    file = clip(scratch, "360p30", "640x360", "30", "600k", 6)
    streams = [f"cam{number}" for number in range(beside)]
    with Server(binary, scratch, streams) as server:
        def state():
            worker = server.worker()
            files = [len(os.listdir(f"/proc/{pid}/fd")) if pid else 0 for pid in (server.pid, worker)]
            threads = [len(os.listdir(f"/proc/{pid}/task")) if pid else 0 for pid in (server.pid, worker)]
            return {"children": len(children(server.pid)), "files": files, "threads": threads}

        def one(stream):
            with Push(file, stream):
                on_air(stream)
                status, body = get(f"/{stream}/360p/video.m3u8")
                if status != 200:
                    sys.exit(f"{stream}: {status} {body}")

        before = None
        for done in range(0, count, beside):
            if done == beside:
                time.sleep(15)
                before = state()
                print(f"after {done} publish cycles with a rendition: {before}", flush=True)
            with ThreadPoolExecutor(beside) as pool:
                # What ends one of them ends all of it.
                list(pool.map(one, streams))
        time.sleep(15)
        after = state()
        print(f"after {count} publish cycles with a rendition: {after}")
        judge(after == before, f"{count} publish cycles leave no process, descriptor or thread: {before} became {after}")


def main():
    binary, *which = sys.argv[1:]
    known = [ladder, three, first, pairs, snapshots, cycles]
    with tempfile.TemporaryDirectory() as scratch:
        for one in known:
            if not which or one.__name__ in which:
                try:
                    one(binary, pathlib.Path(scratch))
                except Gone as gone:
                    judge(False, f"{one.__name__}: {gone}")
    sys.exit(1 if failed else 0)


main()
