"""Plots what run.py measured: nanoseconds an event, ours and each peer's, for one event of one file and for 100 of 1000.

    plot.py RESULTS.json OUT.svg
"""

import json
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as pyplot  # noqa: E402

OURS, THEIRS = "#c0392b", "#7f8c8d"
MINE = {"pollring", "pinned", "busy", "wait", "iterator"}
LANGUAGES = {"c": "C", "python": "Python", "lua": "Lua"}


def plot(axes, entries, title):
    entries = sorted(entries, key=lambda entry: -entry["minimum"])
    names = [entry["name"] for entry in entries]
    colours = [OURS if name in MINE else THEIRS for name in names]
    axes.barh(names, [entry["minimum"] for entry in entries], color=colours)
    axes.plot([entry["median"] for entry in entries], names, "|", color="black")
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def main(results, out):
    with open(results) as file:
        data = json.load(file)
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "pollring"})
    figure, grid = pyplot.subplots(2, 3, figsize=(10, 5), layout="constrained")
    for row, (count, ready) in zip(grid, [(1, 1), (1000, 100)]):
        for axes, (workload, language) in zip(row, LANGUAGES.items()):
            entries = [entry for entry in data["figures"]
                       if (entry["workload"], entry["N"], entry["K"]) == (workload, count, ready)]
            plot(axes, entries, f"{language}, {ready} of {count}")
    figure.supxlabel(f"nanoseconds an event: bars the minimum, ticks the median; Linux {data['machine']['kernel']}, "
                     f"{data['machine']['date'][:10]}", fontsize=8)
    figure.savefig(out, metadata={"Date": None})


main(*sys.argv[1:])
