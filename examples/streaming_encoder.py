"""An audio encoder fed 200 ms at a time, as from a microphone: python streaming_encoder.py SPEECH [audio=NAME ...].

Prints after each piece how far the features have come, how far that is behind the sound, and how long it took. What
follows the file takes `--set` words: python streaming_encoder.py speech.wav audio=mel audio.level_seconds=0.5
"""

import sys
import time

from realtalk_core.audio import stream_audio
from realtalk_core.build import build
from realtalk_core.config import load_config
from realtalk_core.hearing import open_stream
from realtalk_core.plugins import discover

RATE, FPS, PIECE_SECONDS = 16_000, 25.0, 0.2

speech_file, *sets = sys.argv[1:]
chosen = load_config(sets=sets, plugins=discover()).stages["audio"]
stream = open_stream(build(chosen.spec, chosen.config), RATE, FPS, chunk_seconds=PIECE_SECONDS)
print(f"{chosen.spec.name}: a frame's row is there at most {stream.lookahead_seconds:.2f} s of sound after the frame")

heard, rows = 0.0, 0
for piece in stream_audio(speech_file, RATE, PIECE_SECONDS):  # or whatever else gives float32 samples in [-1, 1]
    began = time.perf_counter()
    rows += len(stream.feed(piece.samples))
    work = time.perf_counter() - began
    heard += piece.seconds
    behind = heard - rows / FPS
    print(
        f"heard {heard:6.2f} s, rows up to {rows / FPS:6.2f} s, {behind:5.2f} s behind, {1000 * work:4.0f} ms of work"
    )
rows += len(stream.close())
print(f"{rows} rows in all")
