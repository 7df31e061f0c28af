"""The smallest right component of each stage; the wrong ones differ from these in one thing each."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import torch
from scipy.signal import resample_poly
from torch import nn

from realtalk_core.emotion import LABELS
from realtalk_core.errors import UserError
from realtalk_core.hearing import RowEncoder
from realtalk_core.testing.subject import tiny_capture
from realtalk_core.types import AudioClip, AudioFeatures, Face, FrameBatch, LandmarkTrack
from realtalk_core.voice import Phoneme, Speech

RATE, BANDS = 16000, 12


class Audio:
    """Log energies of bands in a window around each frame's middle."""

    floor = 1e-6
    context_frames = 1
    late = 0.0

    def __init__(self, config):
        self.config = config

    def frames(self, clip, fps):
        return clip.frames(fps)

    def samples(self, clip):
        up, down = RATE // np.gcd(RATE, clip.sample_rate), clip.sample_rate // np.gcd(RATE, clip.sample_rate)
        clean = self.clean(clip.samples.numpy())
        return torch.from_numpy(resample_poly(clean, up, down).astype(np.float32))

    def clean(self, samples):
        return np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)

    def encode(self, clip, fps):
        samples = torch.nn.functional.pad(self.samples(clip), (640, 1280))
        rows = []
        for k in range(self.frames(clip, fps)):
            middle = round((k + 0.5 - self.late) * RATE / fps) + 640
            power = torch.fft.rfft(samples[middle - 320 : middle + 320] * torch.hann_window(640)).abs().square()
            rows.append(power[1:].reshape(-1)[: 320 // BANDS * BANDS].reshape(BANDS, -1).mean(1))
        return AudioFeatures(self.finish(torch.log10(torch.stack(rows) + self.floor)), fps)

    def finish(self, values):
        return values


class Hearing(RowEncoder):
    """The same as rows of 100 a second, by the core's own base class."""

    hop, kernel, window = 160, 640, 4
    block_seconds, margin_seconds = 0.5, 0.1

    def __init__(self, config):
        self.config = config

    def rows(self, samples):
        power = torch.fft.rfft(samples.unfold(0, self.kernel, self.hop) * torch.hann_window(640)).abs().square()
        return torch.log10(power[:, 1 : 320 // BANDS * BANDS + 1].unflatten(1, (BANDS, -1)).mean(2) + 1e-6)


class Landmarks:
    """A line from features to the first components of the person's motion; the seed shifts a tremor."""

    total_steps = 40

    def __init__(self, config, tensors):
        self.config, self.tensors = config, dict(tensors)
        self.weight = nn.Parameter(self.tensors["weight"].clone())
        self.adam = torch.optim.Adam([self.weight], 0.05)

    @classmethod
    def for_training(cls, config, data):
        points, values = data.capture.tracks.landmarks[data.train].flatten(1), data.features.rows()[data.train]
        mean = points.mean(0)
        basis = torch.linalg.svd(points - mean, full_matrices=False)[2][:4]
        tensors = {"mean": mean, "basis": basis, "low": values.mean(0), "wide": values.std(0) + 0.1}
        return cls(config, {**tensors, "weight": torch.zeros(values.shape[1], 4)})

    @classmethod
    def from_state(cls, config, tensors):
        return cls(config, tensors)

    def state(self):
        return {**self.tensors, "weight": self.weight.detach().clone()}

    training_state = state

    def load_training_state(self, tensors):
        with torch.no_grad():
            self.weight.copy_(tensors["weight"])

    def optimizers(self):
        return [self.adam]

    def after_step(self, step):
        pass

    def faces(self, rows):
        heard = (rows - self.tensors["low"]) / self.tensors["wide"]
        return self.tensors["mean"] + heard @ self.weight @ self.tensors["basis"]

    def batch(self, data, step):
        index = data.train[torch.randperm(len(data.train), generator=data.generator(step))[:16]]
        return {"rows": data.features.rows()[index], "points": data.capture.tracks.landmarks[index].flatten(1)}

    def training_step(self, batch, step):
        return {"loss": (self.faces(batch["rows"]) - batch["points"]).square().mean()}

    def tremor(self, frames):
        return 1e-3 * torch.sin(frames + 1.7 * self.config.seed)

    @torch.no_grad()
    def generate(self, audio, start=0):
        points = self.faces(audio.rows()).unflatten(1, (-1, 3))
        points = points + self.tremor(start + torch.arange(len(audio)))[:, None, None]
        return LandmarkTrack(points, "mediapipe478", audio.fps)


class Emotion:
    """Each label pushes every landmark along its own wave."""

    def __init__(self, config):
        self.config = config

    def amounts(self, weights):
        return weights

    def deform(self, landmarks, emotion):
        places = torch.arange(landmarks.points.shape[1] * 3).reshape(-1, 3)
        push = torch.stack(
            [0.0 * places if k == "neutral" else torch.sin(places * (i + 1)) for i, k in enumerate(LABELS)]
        )
        moved = torch.einsum("tl,lkc->tkc", self.amounts(emotion.weights), push) * self.config.strength
        return LandmarkTrack(landmarks.points + moved, landmarks.scheme, landmarks.fps)


class Renderer:
    """A coloured blob for each seventh landmark; colours and one size are learnt."""

    total_steps = 40
    rate = 0.05
    maximize = False

    def __init__(self, config, colours=None, size=None):
        self.config = config
        self.colours = nn.Parameter(torch.zeros(69, 3) if colours is None else colours.clone())
        self.size = nn.Parameter(torch.zeros(()) if size is None else size.clone())
        self.adam = torch.optim.Adam(self.learnt(), self.rate, maximize=self.maximize)

    def learnt(self):
        return [self.colours, self.size]

    @classmethod
    def for_training(cls, config, data):
        return cls(config)

    @classmethod
    def from_state(cls, config, tensors):
        return cls(config, tensors["colours"], tensors["size"])

    def state(self):
        return {"colours": self.colours.detach().clone(), "size": self.size.detach().clone()}

    def training_state(self):
        return {"colours": self.colours.detach().clone(), "size": self.size.detach().clone()}

    def load_training_state(self, tensors):
        with torch.no_grad():
            for name, tensor in tensors.items():
                getattr(self, name).copy_(tensor)

    def optimizers(self):
        return [self.adam]

    def after_step(self, step):
        pass

    def batch(self, data, step):
        frame = int(data.train[torch.randint(len(data.train), (1,), generator=data.generator(step))])
        capture = data.capture
        rgb = torch.from_numpy(capture.frame(frame)).float() / 255
        alpha = torch.from_numpy(capture.masks(frame)[..., 1:2]).float() / 255
        return {"frame": frame, "rgb": rgb, "alpha": alpha, "points": capture.landmarks.points[frame],
                "camera": capture.cameras[frame : frame + 1]}  # fmt: skip

    def training_step(self, batch, step):
        rgb, alpha = self.draw(batch["points"], batch["camera"])
        return {
            "loss": (
                (rgb * alpha - batch["rgb"] * batch["alpha"]).square().mean() + (alpha - batch["alpha"]).square().mean()
            )
        }

    def draw(self, points, camera):
        to_camera = torch.linalg.inv(camera.pose[0])
        seen = points[::7] @ to_camera[:3, :3].T + to_camera[:3, 3]
        pixels = seen @ camera.intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        x, y = torch.arange(camera.width) + 0.5, torch.arange(camera.height) + 0.5
        radius = 0.05 * camera.width * torch.exp(self.size)
        far = (x[None, None, :] - pixels[:, 0, None, None]) ** 2 + (y[None, :, None] - pixels[:, 1, None, None]) ** 2
        weight = torch.exp(-far / radius**2)
        total = weight.sum(0)[..., None]
        rgb = torch.einsum("khw,kc->hwc", weight, torch.sigmoid(self.colours)) / (total + 1e-6)
        return rgb, 1 - torch.exp(-2 * total)

    render_size = 48

    @property
    def torso(self):
        return Torso()

    def attention_maps(self, drive, cameras):
        shape = (len(drive), cameras.height, cameras.width)
        height = drive.landmarks.points[:, :, 1].std(1)[:, None, None]
        return {"landmarks": height.expand(shape), "landmarks/mouth": 0.5 * height.expand(shape)}

    @torch.no_grad()
    def render(self, drive, cameras, region=None):
        for batch in self.batches(drive, cameras):
            seen = 1 if region is None else region[batch.start, None, ..., None]
            yield FrameBatch(batch.rgb * seen, batch.alpha * seen, batch.start)

    def batches(self, drive, cameras):
        for k in range(len(drive)):
            rgb, alpha = self.draw(drive.landmarks.points[k], cameras[k : k + 1])
            yield FrameBatch(rgb[None].clamp(0, 1), alpha[None], k)


class Torso:
    """A grey wall below the head, darker where the head is farther away."""

    def render(self, cameras):
        below = (torch.arange(cameras.height) > cameras.height // 2)[None, :, None, None].float()
        shape = (len(cameras), cameras.height, cameras.width, 1)
        far = self.shades(cameras)[:, None, None, None]
        return FrameBatch(far.expand(*shape[:3], 3), below.expand(shape), 0)

    def shades(self, cameras):
        return torch.sigmoid(cameras.pose[:, 2, 3] / 20 - 2)


@cache
def templates():
    """Small grey versions of drawn frames, and where their landmarks are."""
    capture = tiny_capture(256, 0.4)
    return [(small(capture.frame(k)), capture.tracks.image_points[k]) for k in range(len(capture))]


def small(picture):
    return cv2.resize(picture, (48, 48), interpolation=cv2.INTER_AREA).astype(float)


class Tracker:
    """Finds faces that it has seen before."""

    offset = 0.0

    def __init__(self, config):
        self.config = config

    def track(self, pictures, fps):
        for picture in pictures:
            yield self.look(picture)

    def look(self, picture):
        seen = small(picture)
        distance, points = min(
            ((np.abs(seen - known).mean(), points) for known, points in templates()), key=lambda p: p[0]
        )
        return [Face(points + self.offset, "mediapipe478", 1.0)] if distance < 10 else []


class Voice:
    """Every letter a tone of its own."""

    seconds = 0.05

    def __init__(self, config):
        self.config = config

    def letters(self, text):
        known = [c for c in text.lower() if "a" <= c <= "z"]
        strange = [c for c in text.lower() if c.isalnum() and c not in known]
        if strange or not known:
            raise UserError(f"cannot speak {strange or text!r}", "Write English letters.")
        return known

    def name(self, letter):
        return letter

    def speak(self, text):
        letters, count = self.letters(text), round(self.seconds * RATE)
        times = torch.arange(count) / RATE
        tones = [0.3 * torch.sin(2 * np.pi * (100 + 20 * (ord(c) - 97)) * times) for c in letters]
        said = [Phoneme(self.name(c), k * self.seconds, (k + 1) * self.seconds) for k, c in enumerate(letters)]
        return Speech(AudioClip(torch.cat(tones), RATE), self.finish(said))

    def finish(self, phonemes):
        return tuple(phonemes)
