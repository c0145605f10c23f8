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
                entry.text, entry.fields = " ".join(comment), [("", meaning, "")]
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
                optional = {name: mark for name, mark, *_ in params}
                arguments = ", ".join(name + optional.get(name, "") for name in filter(None, function[4].split(", ")))
                instance = function[1].lower() if function[2] == ":" else owner.name
                entry = Entry(f"{owner.name}{function[2]}{function[3]}",
                              f"{instance}{function[2]}{function[3]}({arguments})")
                entry.text = " ".join(comment)
                entry.fields = [(name, kind + mark, told) for name, mark, kind, told in params]
                entry.fields += [("returns", kind, told) for kind, told in returns if kind != "nil"]
                owner.members.append(entry)
                comment, params, returns = [], [], []
            elif line.startswith("--- "):
                comment.append(line[4:].strip())
            elif not line.startswith("---"):
                comment = []


def typed(kind, names):
    """A type, whose names lead to their entries."""
    if not kind:
        return ""
    parts = re.split(r"(pollring(?:\.\w+)+)", kind)
    return r"\ ".join(names.get(part) or f"``{part}``" for part in parts if part)


class LuaAnnotations(Generated):
    def lines(self):
        found = Annotations(self.source())
        names = {entry.name: f":lua:`{entry.name}`" for entry in [*found.classes, *found.aliases] if "." in entry.name}
        called = [entry for entry in found.classes if any("(" in member.signature for member in entry.members)]
        for entry in [*called, *(entry for entry in found.classes if entry not in called), *found.aliases]:
            what = "alias" if entry in found.aliases else "module" if entry.name == found.module else "class"
            yield from self.entry([entry], names, what + " ")

    def entry(self, entries, names, what=""):
        directive = ".. lua:: "
        first, *others = (f"{entry.name} {what}{entry.signature}" for entry in entries)
        yield from [directive + first, *(" " * len(directive) + other for other in others), ""]
        body = [marked_up(unwrapped(entries[0].text), names), ""]
        for name, kind, told in entries[0].fields:
            text = " ".join(filter(None, [typed(kind, names), marked_up(told, names)]))
            body.append(f":{escaped(name)}: {text}" if name else text)
        body.append("")
        group = []
        for member in entries[0].members:  # those without words of their own stand together
            bare = not (member.text or member.fields)
            if group and not (bare and type_of(member) == type_of(group[-1])):
                body += self.entry(group, names)
                group = []
            group.append(member)
            if not bare:
                body += self.entry(group, names)
                group = []
        if group:
            body += self.entry(group, names)
        yield from indented(body)


def type_of(entry):
    return entry.signature.partition(": ")[2]


def show(env, signature, node):
    """"NAME class SIGNATURE": the first word is the entry's name, the rest is shown."""
    name, shown = signature.split(" ", 1)
    word, _, rest = shown.partition(" ")
    if word in ("class", "alias", "module"):
        node += addnodes.desc_annotation("", word + " ")
        shown = rest
    call = re.match(r"(.*?)(\(.*\))$", shown)
    kind = re.match(r"(.*?)(: .*)$", shown)
    if call:
        path, name_shown = re.match(r"(.*[.:])?(\w+)$", call[1]).groups()
        node += [addnodes.desc_addname("", path or ""), addnodes.desc_name("", name_shown)]
        node += nodes.inline("", call[2], classes=["sig-paren"])
    elif kind:
        node += [addnodes.desc_name("", kind[1]), addnodes.desc_annotation("", kind[2])]
    else:
        node += addnodes.desc_name("", shown)
    return name


def setup(app):
    app.add_object_type("lua", "lua", "%s (Lua)", parse_node=show)
    app.add_directive("lua-annotations", LuaAnnotations)
    return {"parallel_read_safe": True}
