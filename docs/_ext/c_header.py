"""The directive c-header: the reference of a C header, made of its declarations and its comments.

A comment above a declaration is about all that follow it up to an empty line; one behind a declaration is about that
one; "/* ---- name ---- */" begins a part; the first comment of the file is the introduction.
"""

import re

from generated import Generated, indented, paragraphs, marked_up, unwrapped

TOKEN = re.compile(r"""
    (?P<part>/\*\ ----\ (?P<title>.*?)\ ----\ \*/)
  | (?P<comment>/\*.*?\*/)
  | (?P<define>\#define\ (?P<macro>\w+)(?P<value>(?:\\\n|/\*.*?\*/|[^\n])*))
  | (?P<skipped>\#ifdef\ __cplusplus.*?\#endif | \#[^\n]* | extern\ "C"\ {)
  | (?P<declared>(?:struct|enum)\s+(?P<tag>\w+)\s*(?P<body>{.*?^})?\s*; | [a-z][^;{}]*?\([^;]*?\)\s*;)
  | (?P<gap>\n[ ]*\n)
""", re.VERBOSE | re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"/\*(.*?)\*/", re.DOTALL)


def text_of(comment):
    """A comment without its stars."""
    inner = comment.strip()[2:-2]
    lines = [re.sub(r"^\s*\*? ?", "" if number else " ", line) if re.match(r"\s*\*", line) else line
             for number, line in enumerate(inner.split("\n"))]
    return "\n".join(line.rstrip(" \\") for line in lines).strip("\n")


class Declaration:
    def __init__(self, kind, name, signature, members=()):
        self.kind, self.name, self.signature, self.members = kind, name, signature, list(members)
        self.comment = ""


def members_of(kind, body):
    """Enumerators or fields: (name, signature, comment)."""
    end = "," if kind == "enum" else ";"
    for found in re.finditer(rf"([^{end}/]+?){end}\s*(?:/\*(.*?)\*/)?", body.strip("{} \n") + "\n", re.DOTALL):
        signature = unwrapped(found[1])
        name = re.search(r"(\w+)(?:\[\d*\])?$", signature.split(" = ")[0])[1]
        yield name, signature, unwrapped(found[2] or "")


def parse(header):
    """Yields ("part", title), ("intro", text) and ("group", comment, declarations)."""
    comment, group, first = "", [], True
    header = re.sub(r"^#ifndef \w+\n#define \w+\n", "", header, flags=re.MULTILINE)  # the include guard
    for token in TOKEN.finditer(header):
        behind = header[header.rfind("\n", 0, token.start()) + 1:token.start()].strip()
        if token["comment"] and behind:
            group[-1].comment = unwrapped(text_of(token["comment"]))
        elif token["gap"] or token["part"] or token["comment"]:
            if group:
                yield "group", comment, group
                comment, group = "", []
            if token["part"]:
                yield "part", token["title"]
            elif token["comment"] and first:
                yield "intro", text_of(token["comment"])
            elif token["comment"]:
                comment = text_of(token["comment"])
            first = first and not token["comment"]
        elif token["define"]:
            value = token["value"].replace("\\\n", " ")
            told = COMMENT.search(value)
            declaration = Declaration("macro", token["macro"], token["macro"])
            declaration.value = unwrapped(COMMENT.sub("", value))
            declaration.comment = unwrapped(told[1]) if told else ""
            group.append(declaration)
        elif token["tag"]:
            what = "enum" if token["declared"].startswith("enum") else "struct"
            group.append(Declaration(what, token["tag"], token["tag"],
                                     members_of(what, token["body"] or "") if token["body"] else ()))
        elif token["declared"]:
            signature = unwrapped(token["declared"].rstrip("; \n"))
            group.append(Declaration("function", re.search(r"(\w+)\(", signature)[1], signature))
    if group:
        yield "group", comment, group


def lines_of(comment, names):
    """Paragraphs; what is set in two columns ("Errors    Functions that ...") becomes a list of definitions."""
    for paragraph in paragraphs(comment):
        column = re.match(r"(\w+) {2,}(?=\S)", paragraph)
        if column:
            for term, text in re.findall(r"^(\w+) {2,}(.*(?:\n {4,}.*)*)", paragraph, re.MULTILINE):
                yield from [f"**{term}**", *indented([marked_up(unwrapped(text), names)]), ""]
        else:
            yield from [marked_up(unwrapped(paragraph), names), ""]


def lines_of_group(comment, group, names, functions):
    """Functions that share a comment and have none of their own are one entry."""
    of_one = len(group) == 1 or (not any(one.comment or one.members for one in group) and
                                 len({one.kind for one in group}) == 1)
    if not of_one:
        yield from lines_of(comment, names)
    for entry in [group] if of_one else [[one] for one in group]:
        also_a_function = entry[0].kind == "struct" and entry[0].name in functions  # Sphinx has one name space for both
        if also_a_function:
            yield from [".. c:namespace-push:: tags", ""]
        directive = f".. c:{entry[0].kind}:: "
        first, *others = (one.signature for one in entry)
        yield from [directive + first, *(" " * len(directive) + signature for signature in others), ""]
        text = [*(lines_of(comment, names) if of_one else ()),
                *(line for one in entry for line in lines_of(one.comment, names))]
        if entry[0].kind == "macro":
            text = [f"``{entry[0].value}``" + (f": {text[0]}" if text else ""), *text[1:], ""]
        for name, signature, told in entry[0].members:
            member = "enumerator" if entry[0].kind == "enum" else "member"
            text += [f".. c:{member}:: {signature}", "", *indented([marked_up(told, names)]), ""]
        yield from indented(text)
        if also_a_function:
            yield from [".. c:namespace-pop::", ""]


class CHeader(Generated):
    def lines(self):
        parts = list(parse(self.source()))
        declared = [one for _, *group in parts if len(group) == 2 for one in group[1]]
        functions = {one.name for one in declared if one.kind == "function"}
        names = {}
        for one in declared:
            if one.name != "pollring":  # the struct; in prose it is the library
                names[one.name] = "c:func" if one.kind == "function" else "c:macro", one.name
            if one.kind == "enum":
                names.update((name, ("c:macro", f"{one.name}.{name}")) for name, *_ in one.members)
        for kind, *part in parts:
            if kind == "part":
                title = part[0][0].upper() + part[0][1:]
                yield from ["", title, "-" * len(title), ""]
            elif kind == "intro":
                yield from lines_of(part[0], names)
            else:
                yield from lines_of_group(*part, names, functions)


def setup(app):
    app.add_directive("c-header", CHeader)
    return {"parallel_read_safe": True}
