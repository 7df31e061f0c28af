"""RealTalk plugin: audio encoders from transformers: `hubert`, `wav2vec2`, `whisper`."""
