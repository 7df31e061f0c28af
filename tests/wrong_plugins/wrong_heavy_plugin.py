"""A plugin whose declaring module imports a heavy package, which is the one thing wrong with it."""

import numpy as np  # noqa: F401
from wrong_plugin import emotion

from realtalk_core.hookspecs import hookimpl


@hookimpl
def realtalk_components():
    yield emotion("import/light")
