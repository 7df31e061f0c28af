"""RealTalk plugin: audio encoder `ave`, SyncTalk's audio-visual encoder, learnt on a capture."""
