#!/usr/bin/env python3
"""Draws docs/timeline.svg, the picture in the README, from a run on this machine: `make picture`."""

from pathlib import Path

from pollring.lab import Scenario

result = Scenario("pipe", "write 3, arm in, write 3, read 4, read all, close, remove").run()
timeline = result.timeline()
timeline.title = f"One pipe, four ways to watch it (Linux {result.kernel.split('-')[0]})"
timeline.lanes = timeline.lanes[1:]  # all but poll(2), which watches nothing
for lane in timeline.lanes:
    if lane.name.startswith("POLL_ADD"):
        lane.marks = [mark._replace(label=f"{mark.label} F_MORE") if mark.what == "event" else mark
                      for mark in lane.marks]
Path(__file__).with_name("timeline.svg").write_text(timeline.svg(), encoding="utf-8")
