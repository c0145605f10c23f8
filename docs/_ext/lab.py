"""The directive lab: a command of the lab, run on this machine while the pages are built, and what it shows.

    pollring try KIND 'STEPS'    the table and the timeline; with :lanes: a timeline of only those, between commas
    pollring table KIND...       the table

Where no picture can be shown, as in a manual page, it is text.
"""

import shlex

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from pollring.lab import Scenario
from pollring.lab.table import INTERFACES, cell_text, make_row, plan
from pollring.lab.terminal import plain_table

NARROW = ["poll(2)", "epoll edge", "POLL_ADD multishot"]  # what of the table fits into a manual page


class of_html(nodes.container):
    pass


class of_text(nodes.container):
    pass


def table_of(head, rows):
    table = nodes.table(classes=["lab"])
    group = nodes.tgroup(cols=len(head))
    table += group
    group += [nodes.colspec(colwidth=1) for _ in head]
    for part, lines in ((nodes.thead(), [head]), (nodes.tbody(), rows)):
        group += part
        for line in lines:
            row = nodes.row()
            part += row
            for cell in line:
                row += nodes.entry("", nodes.paragraph("", cell))
    return table


def literal(text):
    return nodes.literal_block(text, text, language="text")


class Lab(SphinxDirective):
    has_content = True
    option_spec = {"lanes": directives.unchanged}

    def run(self):
        (command,) = self.content
        html, text = of_html(), of_text()
        _, what, *arguments = shlex.split(command)
        absent = (self.table if what == "table" else self.trial)(arguments, html, text)
        shown = nodes.literal_block(command, f"$ {command}", language="console")
        return [shown, html, text, *(nodes.paragraph("", f"{name}: {why}") for name, why in absent.items())]

    def table(self, kinds, html, text):
        rows = [make_row(*row) for row in plan(kinds)]

        def columns(names):
            return (["kind", "situation", *names],
                    [[row.kind, row.situation, *(cell_text(row, name) for name in names)] for row in rows])

        html += table_of(*columns(INTERFACES))
        text += literal(plain_table(*columns(NARROW)))
        return rows[0].result.absent

    def trial(self, arguments, html, text):
        result = Scenario(*arguments).run()
        timeline = result.timeline()
        lanes = self.options.get("lanes")
        if lanes:
            timeline.lanes = [lane for lane in timeline.lanes if lane.name in lanes.split(", ")]
        else:
            html += table_of(["", *INTERFACES], result.table())
            text += literal(plain_table(["", *INTERFACES], result.table()))
        html += nodes.raw("", f'<div class="lab-timeline">{timeline.svg(heading=False)}</div>', format="html")
        text += literal(timeline.text(72))
        return result.absent


def choose(app, doctree, docname):
    wanted, other = (of_html, of_text) if app.builder.format == "html" else (of_text, of_html)
    for node in list(doctree.findall(wanted)):
        node.parent.replace(node, node.children)
    for node in list(doctree.findall(other)):
        node.parent.remove(node)


def setup(app):
    app.add_directive("lab", Lab)
    app.connect("doctree-resolved", choose)
    return {"parallel_read_safe": True}
