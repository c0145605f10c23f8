"""The lab: see what poll does on this machine. The command ``pollring`` is made of it; in Python it is:

>>> from pollring.lab import Scenario
>>> result = Scenario("pipe").arm("in").write(3).run()
>>> print(result)
>>> print(result.timeline())  # .svg(), .html()
"""

from .scenario import Result, Scenario, Step
from .timeline import Lane, Mark, Timeline
from .words import Mistake

__all__ = ["Lane", "Mark", "Mistake", "Result", "Scenario", "Step", "Timeline"]
