"""The directive lua-annotations: the reference of a Lua module, made of its annotations (LuaCATS) in lua/meta/.

``---`` lines are the text of what follows them; classes, aliases, fields and functions are entries, in the order of the
file. The role :lua: leads to an entry.
"""

import re

from docutils import nodes
from sphinx import addnodes

from generated import Generated, escaped, indented, marked_up, unwrapped


class Entry:
    def __init__(self, name, signature):
        self.name, self.signature = name, signature
        self.text, self.fields, self.members = "", [], []


class Annotations:
    """``classes``: entries whose members are entries; ``aliases``: entries."""

    def __init__(self, text):
        self.module = re.match(r"---@meta (\S+)", text)[1]
        self.classes, self.aliases = [], []
        variables, comment, params, returns = {}, [], [], []
        for line in text.split("\n"):
            tag = re.match(r"---@(\w+) (.*)", line)
            function = re.match(r"function (\w+)([.:])(\w+)\((.*)\) end", line)
            variable = re.match(r"local (\w+) = \{\}", line)
            if tag and tag[1] == "alias":
                name, meaning = tag[2].split(" ", 1)
                entry = Entry(name, name)
                entry.text, entry.fields = " ".join(comment), [("", f"``{meaning}``")]
                self.aliases.append(entry)
                comment = []
            elif tag and tag[1] == "class":
                entry = Entry(tag[2], tag[2])
                entry.text = " ".join(comment)
                self.classes.append(entry)
                comment = []
            elif tag and tag[1] == "field":
                name, optional, kind, told = re.match(r"(\w+)(\??) (\w+<.*?>|\S+)(.*)", tag[2]).groups()
                entry = Entry(f"{self.classes[-1].name}.{name}", f"{name}: {kind}{optional}")
                entry.text = told.strip()
                self.classes[-1].members.append(entry)
            elif tag and tag[1] == "param":
                params.append(re.match(r"(\S+?)(\??) (fun\(.*\)(?:: \S+)?|\S+) ?(.*)", tag[2]).groups())
            elif tag and tag[1] == "return":
                returns.append(re.match(r"(fun\(.*\)(?:: [^#]*)?|\S+) ?(.*)", tag[2]).groups())
            elif variable and self.classes:
                variables[variable[1]] = self.classes[-1]
            elif function:
                owner = variables[function[1]]
                typed = {name: f"{name}{mark}: {kind}" for name, mark, kind, _ in params}
                arguments = ", ".join(typed.get(name, name) for name in filter(None, function[4].split(", ")))
                results = ", ".join(kind for kind, _ in returns if kind != "nil")
                instance = function[1].lower() if function[2] == ":" else owner.name
                entry = Entry(f"{owner.name}{function[2]}{function[3]}",
                              f"{instance}{function[2]}{function[3]}({arguments}){results and f' → {results}'}")
                entry.text = " ".join(comment)
                entry.fields = [(name, told) for name, _, _, told in params if told]
                entry.fields += [("returns", ", ".join(told for _, told in returns if told))] * any(
                    told for _, told in returns)
                owner.members.append(entry)
                comment, params, returns = [], [], []
            elif line.startswith("--- "):
                comment.append(line[4:].strip())
            elif not line.startswith("---"):
                comment = []


class LuaAnnotations(Generated):
    def lines(self):
        found = Annotations(self.source())
        names = {entry.name: ("lua", entry.name) for entry in [*found.classes, *found.aliases] if "." in entry.name}
        called = [entry for entry in found.classes if any("(" in member.signature for member in entry.members)]
        for entry in [*called, *(entry for entry in found.classes if entry not in called), *found.aliases]:
            what = "alias" if entry in found.aliases else "module" if entry.name == found.module else "class"
            yield from self.entry([entry], names, what + " ")

    def entry(self, entries, names, what=""):
        directive = ".. lua:: "
        first, *others = (f"{entry.name} {what}{entry.signature}" for entry in entries)
        yield from [directive + first, *(" " * len(directive) + other for other in others), ""]
        body = [marked_up(unwrapped(entries[0].text), names), ""]
        body += [f":{escaped(name)}: {marked_up(told, names)}" if name else told for name, told in entries[0].fields]
        body.append("")
        group = []  # functions before fields; those without words of their own stand together
        for member in sorted(entries[0].members, key=lambda member: "(" not in member.signature):
            bare = not (member.text or member.fields)
            if group and not bare:
                body += self.entry(group, names)
                group = []
            group.append(member)
            if not bare:
                body += self.entry(group, names)
                group = []
        if group:
            body += self.entry(group, names)
        yield from indented(body)


def show(env, signature, node):
    """"NAME class SIGNATURE": the first word is the entry's name, the rest is shown."""
    name, shown = signature.split(" ", 1)
    word, _, rest = shown.partition(" ")
    if word in ("class", "alias", "module"):
        node += addnodes.desc_annotation("", word + " ")
        shown = rest
    path, name_shown, rest = re.match(r"((?:\w+[.:](?=\w))*)(\w+)(.*)$", shown).groups()
    node += [addnodes.desc_addname("", path), addnodes.desc_name("", name_shown)]
    for part in re.split(r"(pollring(?:\.\w+)*\.[A-Z]\w+)", rest):  # types, of which ours are links
        text = nodes.inline("", part, classes=["sig-paren"])
        if part.startswith("pollring."):
            text = addnodes.pending_xref("", text, refdomain="std", reftype="lua", reftarget=part, refexplicit=True)
        node += text
    return name


def setup(app):
    app.add_object_type("lua", "lua", "%s (Lua)", parse_node=show)
    app.add_directive("lua-annotations", LuaAnnotations)
    return {"parallel_read_safe": True}
