"""A page that stands alone: no network, no script, readable on a telephone and on paper."""

from html import escape

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: #fff; color: #111;
       font: 1rem/1.5 system-ui, "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
p, li { max-width: 44rem; }
code, td, time { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .875rem; }
.wide { overflow-x: auto; } .wide svg { display: block; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #bbb; padding: .3rem .6rem .3rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; } thead th { border-bottom: 2px solid #111; }
td.other { font-weight: 700; } td.other::before { content: "≠ "; }
td.silent { color: #666; }
nav a { display: inline-block; margin-right: .8rem; padding: .2rem 0; color: #12458a; }
summary { cursor: pointer; padding: .3rem 0; }
footer { margin-top: 3rem; color: #555; font-size: .875rem; }
@media (max-width: 44rem) {
  table.cells thead { display: none; }
  table.cells tr { display: block; padding: .6rem 0; border-bottom: 1px solid #111; }
  table.cells th, table.cells td { display: block; border: 0; padding: .1rem 0; }
  table.cells td { display: grid; grid-template-columns: 10.5rem auto 1fr; }
  table.cells td::after { order: -1; content: attr(data-of); font: .875rem system-ui, sans-serif; color: #444; }
  td.silent { color: #666; }
}
"""


def page(title: str, body: str) -> str:
    return ('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n"
            "</body>\n</html>\n")
