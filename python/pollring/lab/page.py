"""A page that stands alone: no network, no script, readable on a telephone and on paper."""

from html import escape

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: #fff; color: #111;
       font: 1rem/1.5 system-ui, "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
p, dl { max-width: 46rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1rem; margin: 0; }
dt { font-weight: 600; } dd { margin: 0; }
code, td, small, time { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .85rem; }
small { color: #555; font-weight: 400; }
.wide { overflow-x: auto; border: 1px solid #ccc; } .wide svg { display: block; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #bbb; padding: .35rem .4rem; text-align: left; vertical-align: top; }
th { font-weight: 600; } thead th { border-bottom: 2px solid #111; }
td.other { font-weight: 700; background: #fff3c4; } td.silent { color: #666; }
table.cells { table-layout: fixed; } table.cells th:first-child { width: 27%; }
nav { margin-top: 2rem; line-height: 2; } nav a { margin-right: .8rem; color: #12458a; }
summary { cursor: pointer; padding: .3rem 0; }
footer { margin-top: 3rem; color: #555; font-size: .875rem; }
@media (max-width: 46rem) {
  dl { display: block; } dd { margin: 0 0 .5rem; }
  table.cells, table.cells tbody { display: block; } table.cells thead { display: none; }
  table.cells tr { display: block; padding: .5rem 0 .7rem; border-bottom: 1px solid #111; }
  table.cells th:first-child { display: block; width: auto; border: 0; padding: 0 0 .2rem; }
  table.cells td { display: grid; grid-template-columns: 11rem 1fr; align-items: baseline;
                   border: 0; padding: .1rem 0; }
  table.cells td::before { content: attr(data-of); font: .875rem system-ui, "DejaVu Sans", sans-serif; color: #444; }
}
"""


def page(title: str, body: str) -> str:
    return ('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
            f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n")
