"""The directive python-module: the reference of a Python package, an entry for each name of its __all__, made by
autodoc of the docstrings."""

from importlib import import_module

from docutils.parsers.rst import directives

from generated import Generated


def entry(name, value):
    if isinstance(value, type):
        # What a class has of our C half is documented, what it has of the stdlib is not.
        theirs = ",".join(base.__name__ for base in value.__mro__ if "pollring" not in base.__module__)
        yield from [f".. autoclass:: {name}", "   :members:", f"   :inherited-members: {theirs}"]
    elif callable(value):
        yield f".. autofunction:: {name}"
    else:
        yield from [f".. py:data:: {name}", f"   :value: {value!r}"]
    yield ""


class PythonModule(Generated):
    """With :first: these names come first, in this order."""

    option_spec = {"first": directives.unchanged}

    def lines(self):
        module = import_module(self.arguments[0])
        yield from [f".. py:module:: {module.__name__}", ""]
        first = self.options.get("first", "").split()
        others = sorted(set(module.__all__) - set(first), key=lambda name: (not callable(getattr(module, name)), name))
        for public in [*first, *others]:
            yield from entry(public, getattr(module, public))


def without_private_names(app, what, name, obj, options, signature, returns):
    """A default is written as users see it."""
    return signature and signature.replace("_pollring.", ""), returns


def setup(app):
    app.connect("autodoc-process-signature", without_private_names)
    app.add_directive("python-module", PythonModule)
    return {"parallel_read_safe": True}
