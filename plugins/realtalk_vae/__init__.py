"""RealTalk plugin: vae."""
