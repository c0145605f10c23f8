"""Show what this kernel and sandbox allow: io_uring or only epoll, and why.

It tries, and leaves nothing behind. The exit status is 0 where io_uring works
and 3 where only epoll does.

Examples:
  pollring probe
  pollring probe --json | jq .setups
  pollring probe >/dev/null || echo "no io_uring here"
"""

import argparse
import json
import os
import resource
from typing import Any, Dict, List, Tuple

import pollring

from .terminal import print_table

_SETUPS = {
    "defer_taskrun": "SINGLE_ISSUER | DEFER_TASKRUN: events are collected on entering the kernel only",
    "coop_taskrun": "COOP_TASKRUN: events are collected on any system call",
    "plain": "no flags: each event interrupts its owner",
}
_SYSCTL = {-1: "this kernel has no such sysctl", 0: "0: allowed", 1: "1: allowed to one group and to root",
           2: "2: refused to everybody"}

EXIT_STATUS = {0: "io_uring works", 3: "io_uring is refused here, and only epoll works"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def gather() -> Dict[str, Any]:
    """What probe() tells, and the ring that one gets: its backend (None without any), set-up and size; and limits: of
    open files and of memory that may be locked in bytes, -1 for none."""
    found = pollring.probe()
    found["setups"] = list(found["setups"])
    found["backend"] = None
    found["open_files"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    found["locked_memory"] = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    try:
        with pollring.Ring() as ring:
            stats = ring.stats()
            found.update(backend=ring.backend, setup=stats["setup"], entries=stats["entries"],
                         cq_entries=stats["cq_entries"])
    except OSError as error:
        found["message"] = found["message"] or str(error)
    return found


def run(arguments: argparse.Namespace) -> int:
    found = gather()
    if arguments.json:
        print(json.dumps(found))
    else:
        print_table(("", ""), lines(found))
    return 0 if found["io_uring"] == 0 else 3


def lines(found: Dict[str, Any]) -> List[Tuple[str, str]]:
    """The same for a person. Keys that are not known here are shown as they are."""
    rest = dict(found)
    error = rest.pop("io_uring")
    rows = [
        ("kernel", rest.pop("kernel")),
        ("io_uring", "works" if error == 0 else f"refused: {os.strerror(-error)}"),
        ("backend", str(rest.pop("backend") or "none")),
    ]
    setups = rest.pop("setups")
    for name, meaning in _SETUPS.items():
        rows.append((f"set-up {name}", ("works" if name in setups else "not here") + f"; {meaning}"))
    setup, entries, cq_entries = (rest.pop(key, None) for key in ("setup", "entries", "cq_entries"))
    if setup:
        rows.append(("a ring by default", f"{setup}, {entries} submissions, {cq_entries} completions; up to 32768 and "
                                          "65536"))
    files, locked = rest.pop("open_files"), rest.pop("locked_memory")
    rows.append(("limits", f"{files if files >= 0 else 'any number of'} open files; "
                           f"{f'{locked} bytes of' if locked >= 0 else 'no limit of'} locked memory"))
    if "resize" in rest:
        rows.append(("completion queue", "can be resized" if rest.pop("resize") else "keeps its size"))
    sysctl = rest.pop("sysctl_disabled")
    rows.append(("kernel.io_uring_disabled", _SYSCTL.get(sysctl, str(sysctl))))
    if rest.get("cause"):
        rows.append(("refused by", f"{rest.pop('cause')}, at io_uring_{rest.pop('refused_at', 'setup')}"))
    lacks, message = rest.pop("lacks"), rest.pop("message")
    rows += [(key.replace("_", " "), str(value)) for key, value in rest.items() if value not in (None, "")]
    rows += [("why, and what to do", message)] if message else []
    return rows + [("lacks, and instead" if sentence == lacks[0] else "", sentence) for sentence in lacks]
