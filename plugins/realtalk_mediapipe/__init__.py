"""RealTalk plugin: mediapipe."""
