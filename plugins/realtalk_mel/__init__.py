"""RealTalk plugin: mel."""
