"""Two builds of the server under the same loads: against.py FILE

Each line of the file is a run: its name, `base` or `now`, CPU seconds per gigabyte (or None), the server's processor time in ticks, and the delay's p99 in
milliseconds. Prints a line for each load. Exit status 1 where this build takes more than 3% more than the other.
"""
import statistics
import sys

WORSE_MAX = 1.03


def main():
    runs = {}
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in file:
            name, turn, *figures = line.rstrip("\n").split("\t")
            figures = [None if figure == "None" else float(figure) for figure in figures]
            runs.setdefault(name, {}).setdefault(turn, []).append(figures)
    failed = []
    for name, turns in runs.items():
        # Where nobody is sent a stream there is no gigabyte to divide by: the whole run counts.
        column = 1 if any(run[0] is None for turn in turns.values() for run in turn) else 0
        unit = "ticks" if column else "CPU-s/GB"
        base, now = ([run[column] for run in turns[turn]] for turn in ("base", "now"))
        delays = [[run[2] for run in turns[turn] if run[2] is not None] for turn in ("base", "now")]
        ratio = statistics.median(now) / statistics.median(base)
        each = ", ".join(f"{mine / other:.3f}" for mine, other in zip(now, base))
        text = f"against: {name}: {statistics.median(now):.4g} {unit} beside {statistics.median(base):.4g}: {ratio:.3f} (pairs {each})"
        if all(delays):
            text += f"; delay p99 {statistics.median(delays[1]):.1f} beside {statistics.median(delays[0]):.1f} ms"
        print(text, flush=True)
        if ratio > WORSE_MAX:
            failed.append(name)
    sys.exit(f"more than {WORSE_MAX - 1:.0%} above the other build: {'; '.join(failed)}" if failed else 0)


main()
