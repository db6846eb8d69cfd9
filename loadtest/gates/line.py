"""One line of a load test's report: line.py NAME REPORT"""
import json
import sys


def main():
    name, path = sys.argv[1:]
    report = json.load(open(path, encoding="utf-8"))
    viewers, ms, steady = report["viewers"], report["ms"], report.get("steady") or {}

    def times(kind):
        summary = ms[kind]
        return "-" if summary["p50"] is None else f"{summary['p50']:.1f}/{summary['p99']:.1f}/{summary['max']:.1f}"

    parts = [
        f"{name}: {report['verdict']}",
        f"joined {viewers['joined']} of {viewers['visits']}, lost {viewers['lost']}, stalls {viewers['stalls']}",
        f"delay video {times('video')} steady {times('steady')} ms, join {times('join')} ms, request to picture {times('answer')} ms (p50/p99/max)",
    ]
    if ms["part"]["p50"] is not None:
        parts.append(f"part {times('part')} ms, playhead {times('playhead')} ms")
    if steady:
        cores = f"server {steady['server_core']:.0%} of a core, harness {steady['harness_core']:.0%}"
        cost = steady["server_cpu_s_per_gb"]
        parts.append(cores if cost is None else f"{cores}, {cost:.3f} CPU-s/GB")
    parts.append(f"probe p99 {ms['probe']['p99']:.1f} ms, limit {report['limit']}")
    print("; ".join(parts), flush=True)


main()
