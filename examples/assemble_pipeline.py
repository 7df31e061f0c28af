"""Assembles a pipeline in Python and lets it speak: python assemble_pipeline.py AVATAR SPEECH OUT.mp4 [EMOTION].

Any object with a stage's method can take that stage's place; here the first three and the last come from an avatar.
"""

import sys

from realtalk_core.audio import read_audio
from realtalk_core.avatar import Avatar
from realtalk_core.motion import Motion
from realtalk_core.pipeline import Pipeline
from realtalk_core.plugins import discover
from realtalk_core.video_writer import write_video

avatar_folder, speech_file, video_file, emotion = (*sys.argv[1:4], *(sys.argv[4:] or ["happy:0.7"]))

avatar = Avatar.open(avatar_folder, discover())
pipeline = Pipeline(
    audio=avatar.component("audio"),
    landmarks=avatar.component("landmarks"),
    emotion=avatar.component("emotion"),
    renderer=avatar.component("renderer"),
    motion=Motion(avatar.person, avatar.config.motion),
)
speech = read_audio(speech_file)
write_video(video_file, pipeline.frames(speech, emotion), [speech], pipeline.fps)
