"""Every built-in component passes the conformance kit, as a stranger's would have to."""

from realtalk_core.plugins import discover
from realtalk_core.testing import conformance

test_mel = conformance("mel")
test_vae = conformance("vae")
test_ldm = conformance("ldm")
test_triplane_nerf = conformance("triplane_nerf")
test_mediapipe = conformance("mediapipe")
test_face_alignment = conformance("face_alignment")


def test_every_built_in_component_is_tested_here():
    built_in = {
        info.name for info in discover().loaded if info.components and info.distribution.startswith("realtalk ")
    }
    assert built_in == {name.removeprefix("test_") for name, test in globals().items() if hasattr(test, "pytestmark")}
