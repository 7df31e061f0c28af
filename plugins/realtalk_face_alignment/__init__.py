"""RealTalk plugin: face_alignment."""
