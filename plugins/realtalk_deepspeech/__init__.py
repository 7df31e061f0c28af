"""RealTalk plugin: audio encoder `deepspeech`, the network that AD-NeRF and ER-NeRF listen with."""
