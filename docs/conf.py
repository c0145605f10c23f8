"""How Sphinx builds this folder: `make docs`, into build/docs (HTML) and build/man (manual pages)."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE / "_ext"))

project = "pollring"
author = "the pollring project"
copyright = "the pollring project, MIT licence"
version = release = re.search('POLLRING_VERSION "(.*)"', (ROOT / "core/pollring.h").read_text())[1]

# myst_parser reads the pages; autodoc Python's docstrings; the others are ours and read the rest of the sources.
extensions = ["myst_parser", "sphinx.ext.autodoc", "c_header", "lua_annotations", "python_module", "command", "lab"]
exclude_patterns = ["_ext"]
smartquotes = False  # code is quoted in prose
nitpicky = True  # a name that leads nowhere is an error ...
nitpick_ignore_regex = [  # ... but those that are not ours
    ("c:identifier", r"u?int\d+_t|size_t|timespec|lua_State"),
    ("py:.*", r"(?!pollring\b).*|pollring\._.*"),
]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
toc_object_entries = False

html_theme = "furo"
html_title = f"pollring {version}"
html_copy_source = html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["pollring.css"]

man_pages = [
    ("reference/command", "pollring", "see what poll does on this machine", "", 1),
    ("reference/c", "pollring", "Linux's multishot poll: the library", "", 3),
    ("multishot", "pollring", "what multishot poll really does", "", 7),
]
man_show_urls = True
