from realtalk_core.testing import conformance

test_conformance = conformance("ears")
