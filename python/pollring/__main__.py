"""``python -m pollring``: the command ``pollring``."""

import sys

from .lab.cli import main

sys.exit(main())
