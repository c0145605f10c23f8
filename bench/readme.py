#!/usr/bin/env python3
"""Puts the newest figures into README.md, between its two markers: `make bench` does it, from bench/results/latest.json."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- bench/readme.py: begin -->\n", "<!-- bench/readme.py: end -->\n"
SIZES = [(1, 1), (1000, 100)]
ROWS = [
    ("C: `pollring_wait`", "c", "pollring"),
    ("C: the same, `POLLRING_PINNED`", "c", "pinned"),
    ("C: a plain liburing loop", "c", "liburing"),
    ("C: epoll, level / edge", "c", "epoll", "epoll-edge"),
    ("C: libev / libuv", "c", "libev", "libuv"),
    ("Python: `ring.wait` / `for events in poll`", "python", "wait", "iterator"),
    ("Python: `select.epoll` / `selectors`", "python", "epoll", "selectors"),
    ("Python: PyPI's liburing", "python", "liburing"),
    ("Lua: `ring:wait` / `pinned = true`", "lua", "pollring", "pinned"),
    ("Lua: luv's `uv_poll` / cqueues", "lua", "luv", "cqueues"),
]


def collection(figures):
    yield "| nanoseconds an event | 1 of 1 | 100 of 1000 |\n|---|---|---|\n"
    for title, workload, *names in ROWS:
        cells = [" / ".join(f"{figures[key]:.0f}" for name in names if (key := (workload, *size, name)) in figures)
                 for size in SIZES]
        if any(cells):
            yield f"| {title} | {' | '.join(cells)} |\n"


def shares(ratios):
    """Of loops and tasks: what ours takes of each other one's time."""
    rows = {}
    for found in ratios:
        if found["workload"].startswith(("asyncio: ", "lua-")) and found["ours"] in ("pollring", "scheduler"):
            size = f", {found['K']} of {found['N']}" if found["workload"] == "lua-events" else ""
            rows.setdefault(found["workload"] + size, []).append(f"{found['ratio']:.2f} of {found['theirs']}")
    if rows:
        yield "\n| event loop, scheduler | takes, of the time of others |\n|---|---|\n"
        for workload, cells in rows.items():
            yield f"| {workload} | {', '.join(sorted(cells))} |\n"


def main():
    data = json.loads((ROOT / "bench/results/latest.json").read_text())
    machine = data["machine"]
    figures = {(entry["workload"], entry["N"], entry["K"], entry["name"]): entry["minimum"] for entry in data["figures"]}
    table = "".join([f"{machine['date'][:10]}, Linux {machine['kernel']}, {machine['cpu']}, Python {machine['python']}; the "
                     f"minimum of {data['runs']} runs:\n\n", *collection(figures), *shares(data["ratios"])])
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text(before + BEGIN + table + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
