"""RealTalk: emotional talking-head video, every stage swappable.

Importing this package is cheap: nothing here imports torch. Data types live in `realtalk_core.types`,
stage protocols in `realtalk_core.stages`, the plugin contract in `realtalk_core.spec` and `realtalk_core.declare`.
"""

__version__ = "0.1.0"
