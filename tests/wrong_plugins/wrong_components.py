"""Components that break one rule each; the class is named after the check that must notice."""

from __future__ import annotations

import numpy as np
import torch
from right_components import Audio, Emotion, Landmarks, Renderer, Torso, Tracker, Voice
from torch import nn

from realtalk_core.hearing.stream import WindowStream
from realtalk_core.testing.face import neutral_face
from realtalk_core.testing.subject import FPS, LONG_SECONDS, band_energies
from realtalk_core.types import AudioFeatures, CameraTrack, FrameBatch, LandmarkTrack


class SpecProtocol(Emotion):
    def deform(self, faces, emotion):
        return super().deform(faces, emotion)


class BuildSucceeds(Emotion):
    def __init__(self, config):
        raise RuntimeError("deliberately wrong")


class RunSucceeds(Emotion):
    def deform(self, landmarks, emotion):
        raise RuntimeError("deliberately wrong")


class OutputFinite(Renderer):
    def draw(self, points, camera):
        rgb, alpha = super().draw(points, camera)
        return rgb, torch.where(
            torch.arange(camera.width)[:, None] < 1, torch.nan, alpha
        ) if not alpha.requires_grad else alpha


class OutputDetached(Renderer):
    def render(self, drive, cameras):
        yield from self.batches(drive, cameras)


class OutputRepeatable(Renderer):
    calls = 0

    def render(self, drive, cameras):
        self.calls += 1
        for batch in super().render(drive, cameras):
            yield FrameBatch(batch.rgb * (1 - 1e-4 * self.calls), batch.alpha, batch.start)


class InputUnmodified(Tracker):
    def look(self, picture):
        found = super().look(picture)
        picture[0, 0] += 1
        return found


class StateRoundTrip(Renderer):
    @classmethod
    def from_state(cls, config, tensors):
        return cls(config)


class ChunksAgree(Audio):
    def finish(self, values):
        whole = len(values) == round(LONG_SECONDS * FPS)
        return values - values.mean(0) if whole else values


class AudioRows(Audio):
    """Counts a frame that has hardly begun, in clips of one length."""

    def frames(self, clip, fps):
        return int(np.ceil(clip.seconds * fps)) if clip.samples.numel() == round(1.33 * 16000) else clip.frames(fps)


class AudioSilenceFinite(Audio):
    def encode(self, clip, fps):
        features = super().encode(clip, fps)
        return features if clip.samples.any() else AudioFeatures(features.values * torch.nan, fps)


class AudioAnyRate(Audio):
    def encode(self, clip, fps):
        return band_energies(clip, fps) if clip.sample_rate == 22050 else super().encode(clip, fps)


class AudioImpulseAlignment(Audio):
    """Late where hardly anything is heard but for the click."""

    def finish(self, values):
        hushed = len(values) == 50 and values.median() < -3
        return torch.cat([values[:1].expand(4, -1), values])[: len(values)] if hushed else values


class AudioLandsOnFrames(Audio):
    """Late by a little more than half a frame."""

    late = 0.55


class AudioAnySound(Audio):
    def encode(self, clip, fps):
        if clip.samples.numel() < 100:
            raise ValueError("too short")
        return super().encode(clip, fps)


class AudioInputNan(Audio):
    def clean(self, samples):
        return samples


class Short(WindowStream):
    """Cuts windows without the context that the encoder needs."""

    def __init__(self, encoder, rate, fps):
        super().__init__(encoder, rate, fps, 1.0)
        self._context = 0


class AudioStreaming(Audio):
    def finish(self, values):
        return torch.cat([values[:1], values, values[-1:]]).unfold(0, 3, 1).mean(2)

    def stream(self, sample_rate, fps):
        return Short(self, sample_rate, fps)


class Hasty(WindowStream):
    def __init__(self, encoder, rate, fps):
        super().__init__(encoder, rate, fps, 1.0)
        self.lookahead_seconds = 0.1


class AudioLookAhead(Audio):
    def stream(self, sample_rate, fps):
        return Hasty(self, sample_rate, fps)


class LandmarksRows(Landmarks):
    def generate(self, audio, start=0):
        track = super().generate(audio, start)
        return LandmarkTrack(track.points.repeat(2, 1, 1), track.scheme, track.fps) if len(track) == 1 else track


class LandmarksObeysSeed(Landmarks):
    def tremor(self, frames):
        return 1e-3 * torch.sin(frames)


class LandmarksHears:
    def __init__(self, config):
        self.config = config

    def generate(self, audio, start=0):
        frames = start + torch.arange(len(audio))
        tremor = 1e-3 * torch.sin(frames + self.config.seed)[:, None, None]
        return LandmarkTrack(torch.tensor(neutral_face()).float() + tremor, "mediapipe478", audio.fps)


class EmotionRows(Emotion):
    def deform(self, landmarks, emotion):
        track = super().deform(landmarks, emotion)
        return track.to_scheme("ibug68") if len(track) == 7 else track


class EmotionNeutralIdentity(Emotion):
    def deform(self, landmarks, emotion):
        track = super().deform(landmarks, emotion)
        return LandmarkTrack(track.points + 0.05, track.scheme, track.fps)


class EmotionGrowsWithIntensity(Emotion):
    def amounts(self, weights):
        return (weights > 0).float()


class RendererOrder(Renderer):
    def render(self, drive, cameras):
        for batch in super().render(drive, cameras):
            yield FrameBatch(batch.rgb, batch.alpha, 0)


class RendererRange(Renderer):
    def render(self, drive, cameras):
        for batch in super().render(drive, cameras):
            yield FrameBatch(batch.rgb + 0.7, batch.alpha, batch.start)


class RendererSize(Renderer):
    def render(self, drive, cameras):
        side = min(cameras.width, cameras.height)
        yield from super().render(drive, cameras.resized(side, side))


class RendererBatching(Renderer):
    def render(self, drive, cameras):
        for batch in super().render(drive, cameras):
            yield FrameBatch(batch.rgb * (1 - 0.02 * batch.start), batch.alpha, batch.start)


class RendererFilmedFaces(Renderer):
    def render(self, drive, cameras, region=None):
        assert len(drive.emotion) == len(drive)
        yield from super().render(drive, cameras, region)


class RendererEmotionOnce(Renderer):
    def render(self, drive, cameras, region=None):
        for batch in super().render(drive, cameras, region):
            yield batch if drive.neutral is None else FrameBatch(batch.rgb * 0.98, batch.alpha, batch.start)


class RendererRenderSize(Renderer):
    render_size = 0


class RendererRegion(Renderer):
    def render(self, drive, cameras, region=None):
        for batch in super().render(drive, cameras):
            faded = 1 if region is None else region[batch.start].float().mean()
            yield FrameBatch(batch.rgb * faded, batch.alpha, batch.start)


class BesideEachOther(Torso):
    def shades(self, cameras):
        return super().shades(cameras).cumsum(0) / len(cameras)


class RendererTorso(Renderer):
    @property
    def torso(self):
        return BesideEachOther()


class RendererAttentionMaps(Renderer):
    def attention_maps(self, drive, cameras):
        maps = super().attention_maps(drive, cameras)
        return {"landmarks/mouth": maps["landmarks/mouth"]}


class TrackerRows(Tracker):
    def track(self, pictures, fps):
        yield from super().track(pictures, fps)
        yield []


class TrackerLazy(Tracker):
    def track(self, pictures, fps):
        yield from super().track(list(pictures), fps)


class TrackerEmptyPicture(Tracker):
    def look(self, picture):
        if picture.std() == 0:
            from realtalk_core.types import Face

            return [Face(torch.zeros(478, 3), "mediapipe478", 0.1)]
        return super().look(picture)


class TrackerFindsTheFace(Tracker):
    offset = 30.0


class TrainStateful(Renderer):
    state = None
    from_state = None


class TrainPureBatch(Renderer):
    def batch(self, data, step):
        return {**super().batch(data, step), "dither": torch.rand(3)}


class TrainGradientsReachAll(Renderer):
    def learnt(self):
        self.idle = nn.Parameter(torch.ones(2))
        return [*super().learnt(), self.idle]


class TrainLossFalls(Renderer):
    maximize = True


class TrainResume(Renderer):
    def training_state(self):
        return {"colours": self.colours.detach().clone()}


class EmotionTellsApart(Emotion):
    def amounts(self, weights):
        same = weights.clone()
        same[:, 0] = 1 - weights[:, 5]
        same[:, 1:] = 0
        return same


class RendererFollowsLandmarks(Renderer):
    def draw(self, points, camera):
        return super().draw(torch.tensor(neutral_face()).float(), camera)


class RendererFollowsCamera(Renderer):
    def draw(self, points, camera):
        still = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
        still[2, 3] = 45.0
        return super().draw(points, CameraTrack(still[None], camera.intrinsics, camera.width, camera.height))


class VoiceCoversTheClip(Voice):
    def finish(self, phonemes):
        return tuple(phonemes[:-1])


class VoiceSaysTheText(Voice):
    def name(self, letter):
        return f"{letter.upper()}0"


class VoiceLongerText(Voice):
    def letters(self, text):
        return super().letters(text)[:5]


class VoiceRefusesNothing(Voice):
    def letters(self, text):
        return super().letters(text if any(c.isalnum() for c in text) else "oops")


class VoiceAnyText(Voice):
    def letters(self, text):
        if not any(c.isalnum() for c in text):
            return super().letters(text)
        return [chr("abcdefghijklmnopqrstuvwxyz".index(c) + 97) for c in text.lower() if c.isalnum()]
