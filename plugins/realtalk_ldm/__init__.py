"""RealTalk plugin: ldm."""
