"""Every built-in component passes the conformance kit, as a stranger's would have to."""

from realtalk_core.plugins import discover
from realtalk_core.testing import conformance

PLUGINS = discover()
BUILT_IN = [p.name for p in PLUGINS.loaded if p.components and p.distribution.startswith("realtalk ")]

globals().update({f"test_{name}": conformance(name, PLUGINS) for name in BUILT_IN})


def test_the_default_chain_and_trackers_are_among_them():
    assert {"mel", "vae", "ldm", "triplane_nerf", "mediapipe", "face_alignment"} <= set(BUILT_IN), PLUGINS.failures
