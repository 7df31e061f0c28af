"""From generated landmarks to finished motion of one person (paper §3.3; reference notes §1.6).

Everything here may be run in chunks: the result of frame t depends on its number and on the landmarks of the frames
within `context_frames` of it, and on nothing else.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import conv1d, pad

from realtalk_core.blink import Lids, OpenEyes, closure
from realtalk_core.config.motion import MotionConfig
from realtalk_core.errors import UserError
from realtalk_core.expression import upper_face
from realtalk_core.lle import project
from realtalk_core.person import Person
from realtalk_core.types import Blendshapes, CameraTrack, LandmarkTrack


class Motion:
    """Finishes landmarks for a person.

    Args:
        person: Whose face, poses and blendshapes.
        config: The parameters.

    Attributes:
        context_frames: How far to each side a finished frame looks.

    Raises:
        UserError: if `config.start` lies beyond the capture, or no stretch of it shows a face.
    """

    def __init__(self, person: Person, config: MotionConfig) -> None:
        self.person, self.config = person, config
        if person.spans.shape[0] == 0:
            raise UserError("the avatar's capture shows no face in any frame", "Make the capture again.")
        if config.start >= int(person.spans[-1, 1]):
            raise UserError(
                f"motion.start: frame {config.start} is beyond the capture's last frame with a face, "
                f"{int(person.spans[-1, 1]) - 1}",
                "Choose an earlier frame.",
            )
        self.context_frames = math.ceil(3 * config.smoothing)
        self._upper = upper_face(person.neutral)[:, None]
        self._mouth = (self._upper[:, 0] < 1).nonzero().flatten()
        self._bank = person.landmarks[person.bank][:, self._mouth]
        self._lids = Lids.of(person.neutral)
        self._open_eyes = OpenEyes.of(person.neutral, person.landmarks[person.bank])
        low, high = person.quantiles(config.clamp_quantile)
        self._low, self._high = low[self._mouth], high[self._mouth]
        self._first, self._last = self._stretch()

    def _stretch(self) -> tuple[int, int]:
        """The stretch to play: the one that holds `start`; else, or if it is shorter than a second, the longest."""
        spans = self.person.spans
        length = spans[:, 1] - spans[:, 0]
        holds = ((spans[:, 0] <= self.config.start) & (spans[:, 1] > self.config.start)).nonzero().flatten()
        chosen = int(holds[0]) if len(holds) and length[holds[0]] >= self.person.fps else int(length.argmax())
        return int(spans[chosen, 0]), int(spans[chosen, 1]) - 1

    def frames(self, start: int, count: int) -> Int[Tensor, "T"]:
        """Capture frames whose pose, eyes and blendshapes frames `start … start + count - 1` of the clip take.

        Played forward from `config.start` (or the beginning of its stretch), then back and forth; a step is at most
        one frame and never crosses a cut or a stretch without a face.
        """
        span = self._last - self._first
        begin = self.config.start - self._first if self._first <= self.config.start <= self._last else 0
        at = torch.arange(start, start + count) + begin
        if span == 0:
            return torch.full((count,), self._first)
        phase = at % (2 * span)
        return self._first + torch.minimum(phase, 2 * span - phase)

    def cameras(self, start: int, count: int) -> CameraTrack:
        """Cameras of frames `start … start + count - 1`, at the capture's size."""
        frames = self.frames(start, count)
        return CameraTrack(self.person.poses[frames], self.person.intrinsics, self.person.size, self.person.size)

    def finish(self, neutral: LandmarkTrack, emotional: LandmarkTrack, start: int) -> LandmarkTrack:
        """Finishes landmarks.

        The neutral speech is drawn towards the person's own faces, kept within their range and smoothed; eyes and brows
        are put in; then what the emotion stage changed is added whole, so that a person's neutral range does not hold
        the emotion back.

        Args:
            neutral: From the landmark generator, frames `start` and on.
            emotional: The same after the emotion stage.
            start: Number of the first frame within the clip.

        Raises:
            UserError: if the landmarks are of another scheme than the person's.
        """
        scheme = self.person.scheme
        if neutral.scheme != scheme:
            raise UserError(
                f"the landmark generator gives {neutral.scheme}, the avatar's capture has {scheme}",
                "Train the landmark stage on this capture.",
            )
        change = emotional.points - neutral.points
        points = neutral.points.clone()
        points[:, self._mouth] = self._smoothed(self._to_person(points[:, self._mouth]))
        points = points + (self._eyes(start, len(neutral)) - points) * self._upper
        return LandmarkTrack(points + change * self._open_eyes.take(points), scheme, neutral.fps)

    def blendshapes(self, landmarks: LandmarkTrack, start: int) -> Blendshapes:
        """Scores that agree with finished landmarks: the replayed frame's, moved by what the landmarks differ from it.

        Args:
            landmarks: From `finish`, frames `start` and on.
            start: Number of the first frame within the clip.
        """
        person, frames = self.person, self.frames(start, len(landmarks))
        moved = person.scores(landmarks.points) - person.scores(person.landmarks[frames])
        return Blendshapes((person.blendshapes[frames] + moved).clamp(0, 1))

    def _to_person(self, mouth: Float[Tensor, "T M 3"]) -> Float[Tensor, "T M 3"]:
        config = self.config
        if config.lle_percent > 0:
            rebuilt = project(mouth.flatten(1), self._bank.flatten(1), config.lle_neighbours).view_as(mouth)
            mouth = torch.lerp(mouth, rebuilt, config.lle_percent)
        if config.clamp_quantile > 0:
            mouth = mouth.clamp(self._low, self._high)
        return mouth

    def _smoothed(self, mouth: Float[Tensor, "T M 3"]) -> Float[Tensor, "T M 3"]:
        if self.context_frames == 0:
            return mouth
        at = torch.arange(-self.context_frames, self.context_frames + 1, dtype=mouth.dtype)
        kernel = torch.softmax(-0.5 * (at / self.config.smoothing).square(), 0)
        tracks = mouth.flatten(1).T[:, None]
        tracks = pad(tracks, (self.context_frames, self.context_frames), mode="replicate")
        return conv1d(tracks, kernel[None, None])[:, 0].T.reshape(mouth.shape)

    def _eyes(self, start: int, count: int) -> Float[Tensor, "T K 3"]:
        replayed = self.person.landmarks[self.frames(start, count)]
        if self.config.blink == "capture":
            return replayed
        still = replayed + (self.person.neutral - replayed) * self._open_eyes.share
        return self._lids.shut(still, closure(self.config, start, count, self.person.fps))
