"""A stage of one's own without a plugin: python own_stage.py AVATAR SPEECH OUT.mp4.

Whatever has the method of a stage fills it; here an emotion deformer that only ever raises the brows.
"""

import sys
from dataclasses import replace

import torch

from realtalk_core.audio import read_audio
from realtalk_core.avatar import Avatar
from realtalk_core.landmarks import LEFT_BROW, RIGHT_BROW
from realtalk_core.pipeline import Pipeline
from realtalk_core.plugins import discover
from realtalk_core.types import EmotionTrack, LandmarkTrack
from realtalk_core.video_writer import write_video


class BrowRaiser:
    """Raises the brows of dense landmarks by as much as the frame is not neutral."""

    def deform(self, landmarks: LandmarkTrack, emotion: EmotionTrack) -> LandmarkTrack:
        """The same landmarks with the brows up to 0.6 cm higher."""
        lift = torch.zeros_like(landmarks.points)
        lift[:, [*LEFT_BROW, *RIGHT_BROW], 1] = 0.6 * (1 - emotion.weights[:, 5:6])
        return LandmarkTrack(landmarks.points + lift, landmarks.scheme, landmarks.fps)


avatar_folder, speech_file, video_file = sys.argv[1:4]
pipeline = replace(Pipeline.from_avatar(Avatar.open(avatar_folder, discover())), emotion=BrowRaiser())
speech = read_audio(speech_file)
write_video(video_file, pipeline.frames(speech, "surprise"), [speech], pipeline.fps)
