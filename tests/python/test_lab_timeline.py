"""Timelines: what is drawn is all there, in its place, as text, as SVG and as a page."""

import re
from xml.etree import ElementTree

import pytest

from pollring.lab import Lane, Mark, Timeline

SVG = "{http://www.w3.org/2000/svg}"


def make(*lanes, **options):
    made = []
    for name, marks in lanes:
        lane = Lane(name)
        lane.marks = [Mark(*mark) for mark in marks]
        made.append(lane)
    return Timeline("a <title>", made, **options)


@pytest.fixture
def timeline():
    return make(("<pipe>", [(0.0, "arm", ""), (0.5, "event", "IN"), (1.0, "end", "IN|HUP")]),
                ("timer", [(0.25, "arm", ""), (0.75, "event", "IN")]))


def test_text_shows_arming_events_and_ends_where_they_were(timeline):
    assert timeline.text(50) == """\
a <title>
<pipe>  ├───────────────────●───────────────────■
                            IN             IN|HUP
timer             ├───────────────────●──────────
                                      IN
        ┴───────┴───────┴───────┴───────┴───────┴
        0 s     0.2 s   0.4 s   0.6 s   0.8 s 1 s
├ armed   ─ stays armed   ● event   ■ end"""


@pytest.mark.parametrize("width", [20, 80, 300])
def test_text_is_as_wide_as_the_terminal_at_most(timeline, width):
    drawn = timeline.text(width).splitlines()
    assert max(map(len, drawn[1:-1])) < max(width, 30)


def test_an_event_at_the_moment_of_arming_does_not_hide_it():
    lane = make(("x", [(0.0, "arm", ""), (0.0, "event", "IN")]), end=1.0).text(40).splitlines()[1]
    assert lane.startswith("x  ├●──")


def test_a_poll_that_is_armed_again_has_a_gap():
    lane = make(("x", [(0, "arm", ""), (1, "end", "HUP"), (2, "arm", ""), (4, "event", "IN")])).text(24).splitlines()[1]
    assert lane == "x  ├────■    ├────────●"


def test_a_crowd_is_counted_and_loses_none():
    marks = [(0.0, "arm", "")] + [(number / 1000, "event", "IN") for number in range(1000)]
    text = make(("x", marks)).text(80)
    assert sum(map(int, re.findall("IN ×([0-9]+)", text))) == 1000 and "left out" not in text


def test_labels_that_find_no_room_are_owned_up_to():
    marks = [(number / 100, "event", name) for number, name in enumerate(["IN", "OUT", "PRI", "IN|OUT"] * 25)]
    assert re.search(r"\(\d+ labels left out", make(("x", marks)).text(80))


@pytest.mark.parametrize("end, first, last", [
    (0.00001, "0 µs", "10 µs"), (0.05, "0 ms", "50 ms"), (1.0, "0 s", "1 s"), (3600.0, "0 s", "3000 s")])
def test_the_axis_has_round_figures_and_units(end, first, last):
    ticks = [text for _, text in make(("x", []), end=end).ticks]
    assert (ticks[0], ticks[-1]) == (first, last) and 3 <= len(ticks) <= 7


def test_a_long_name_is_cut_at_its_beginning():
    timeline = make(("/very" * 30 + "/end", [(0.0, "arm", "")]))
    assert timeline.text(80).splitlines()[1].startswith("…") and "/very/end  ├──" in timeline.text(80)
    assert max(map(len, timeline.text(80).splitlines())) <= 80
    assert float(ElementTree.fromstring(timeline.svg()).get("width")) < 1100


def test_nothing_at_all_can_be_drawn():
    for timeline in (make(), make(("x", []))):
        assert timeline.text(80) and ElementTree.fromstring(timeline.svg()) is not None and timeline.html()


def test_svg_has_a_shape_and_a_title_a_mark_inside_its_frame(timeline):
    picture = ElementTree.fromstring(timeline.svg())
    width, height = float(picture.get("width")), float(picture.get("height"))
    texts = [element.text for element in picture.iter(SVG + "text")]
    assert {"<pipe>", "timer", "IN", "IN|HUP", "a <title>", "0.2 s", "armed", "event", "end"} <= set(texts)
    titles = [group.find(SVG + "title").text for group in picture.iter(SVG + "g")]
    assert titles == ["armed, at 0", "IN, at 500 ms", "IN|HUP, at 1 s", "armed, at 250 ms", "IN, at 750 ms"]
    for element in picture.iter():
        assert 0 <= float(element.get("x") or element.get("cx") or 0) <= width
        assert 0 <= float(element.get("y") or element.get("cy") or 0) <= height
    shapes = [group[1].tag.replace(SVG, "") for group in picture.iter(SVG + "g")]
    assert shapes == ["path", "circle", "rect", "path", "circle"]  # told apart without colour


def test_a_page_stands_alone(timeline):
    page = timeline.html()
    assert page.startswith("<!doctype html>") and "a &lt;title&gt;" in page and "<b>IN|HUP</b>" in page
    assert not re.search(r"(src|href)=|url\(|@import|<script", page)


def test_in_a_notebook_it_is_a_picture(timeline):
    ElementTree.fromstring(timeline._repr_html_())
