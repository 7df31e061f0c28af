"""SyncTalk's audio-visual encoder: what it hears where, what it learns, whose weights it takes."""

from realtalk_core.testing import conformance

test_conformance = conformance("ave")
