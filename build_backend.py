"""What pip calls, by pyproject.toml: setuptools, and PyPI's swig where a build needs one and the machine has none."""

import os
import shutil

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403


def _swig():
    released = os.path.exists("generated/pollring_python_wrap.c")  # a source release has what swig makes
    return [] if released or shutil.which(os.environ.get("SWIG") or "swig") else ["swig >= 4.0"]


def get_requires_for_build_wheel(config_settings=None):
    return build_meta.get_requires_for_build_wheel(config_settings) + _swig()


def get_requires_for_build_editable(config_settings=None):
    return build_meta.get_requires_for_build_editable(config_settings) + _swig()


def get_requires_for_build_sdist(config_settings=None):
    return build_meta.get_requires_for_build_sdist(config_settings) + _swig()
