"""The pipeline with small doubles that look around themselves, and with a person's footage."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool1d, conv1d

from realtalk_core.build import build
from realtalk_core.config.motion import MotionConfig
from realtalk_core.emotion import LABELS
from realtalk_core.errors import ShapeError
from realtalk_core.footage import CaptureFootage
from realtalk_core.hearing import RowEncoder
from realtalk_core.hearing.prosody import prosody
from realtalk_core.motion import Motion
from realtalk_core.person import Person
from realtalk_core.pipeline import Pipeline
from realtalk_core.plugins import discover
from realtalk_core.scene import Scene
from realtalk_core.testing.synthetic import make_capture, synthetic_clip
from realtalk_core.types import AudioClip, AudioFeatures, Drive, FrameBatch, LandmarkTrack

HAPPY = LABELS.index("happy")


class Loudness:
    """Hears 80 ms to each side."""

    context_seconds = 0.08

    def encode(self, clip, fps):
        rows, hop = clip.frames(fps), round(clip.sample_rate / fps)
        power = torch.nn.functional.pad(clip.samples, (0, max(0, rows * hop - clip.samples.numel()))).square()
        level = power[: rows * hop].reshape(rows, hop).mean(1)
        wide = conv1d(torch.nn.functional.pad(level, (2, 2))[None, None], torch.ones(1, 1, 5))[0, 0]
        return AudioFeatures(torch.stack([level, wide], 1), fps)


class Blocks(RowEncoder):
    """The same, 50 times a second, in blocks of a second."""

    block_seconds, margin_seconds, heard = 1.0, 0.5, 0

    def rows(self, samples):
        level = samples.unfold(0, self.kernel, self.hop).square().mean(1)
        self.heard += len(level)
        return torch.stack([level, 5 * level], 1)


class Mouth:
    """Opens the mouth with the sound, in steps of four frames, and trembles with noise of absolute frame numbers."""

    context_frames = 4
    stride = 4

    def __init__(self, neutral):
        self.neutral = neutral

    def generate(self, audio, start=0):
        assert start % 4 == 0
        level = audio.rows()[:, 1]
        blocks = avg_pool1d(level[None, None], 4, ceil_mode=True)[0, 0].repeat_interleave(4)[: len(audio)]
        noise = torch.tensor([np.random.default_rng(start + k).normal() for k in range(len(audio))]).float()
        points = self.neutral.repeat(len(audio), 1, 1)
        points[:, 14, 1] -= 20 * blocks + 0.01 * noise
        return LandmarkTrack(points, "mediapipe478", audio.fps)


class Smile:
    def deform(self, landmarks, emotion):
        points = landmarks.points.clone()
        points[:, [61, 291], 1] += emotion.weights[:, HAPPY, None]
        return LandmarkTrack(points, landmarks.scheme, landmarks.fps)


class Painter:
    """Covers a square whose colour depends on the landmarks of the frame before, this one and the next."""

    context_frames = 1

    def __init__(self, batch=3, side=16):
        self.batch, self.side, self.rendered = batch, side, 0

    def render(self, drive, cameras):
        seen = drive.landmarks.points[:, 14, 1] + drive.landmarks.points[:, 61, 1]
        mean = conv1d(torch.nn.functional.pad(seen[None, None], (1, 1), mode="replicate"), torch.ones(1, 1, 3) / 3)
        value = torch.sigmoid(mean[0, 0] / 4)
        for start in range(0, len(drive), self.batch):
            part = value[start : start + self.batch]
            self.rendered += len(part)
            size = (len(part), cameras.height, cameras.width)
            alpha = torch.zeros(*size, 1)
            alpha[:, cameras.height // 4 : cameras.height // 2, cameras.width // 4 : cameras.width // 2] = 1
            yield FrameBatch(part[:, None, None, None].expand(*size, 3).contiguous(), alpha, start)


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return make_capture(tmp_path_factory.mktemp("capture") / "c", seconds=2.0, size=64)


@pytest.fixture
def make(capture):
    person = Person.from_capture(capture, capture.training_frames())
    motion = Motion(person, MotionConfig())

    def build(**parts):
        return Pipeline(
            **{
                "audio": Loudness(),
                "landmarks": Mouth(person.neutral),
                "emotion": Smile(),
                "renderer": Painter(),
                "motion": motion,
                **parts,
            }
        )

    return build


def run(pipeline, sound, emotion="neutral@0 happy@1.5", **rest):
    return torch.cat(list(pipeline.frames(sound, emotion, **rest)))


@pytest.mark.parametrize("chunk_seconds", [0.08, 0.5, 1.7])
@pytest.mark.parametrize("seconds", [0.01, 2.0, 3.31])
def test_no_frame_depends_on_how_the_sound_was_cut(make, chunk_seconds, seconds):
    clip = synthetic_clip(max(seconds, 0.01))
    whole = run(make(), clip, chunk_seconds=1e3)
    cut = run(make(renderer=Painter(batch=5)), clip, chunk_seconds=chunk_seconds)
    assert whole.shape == (clip.frames(25), 64, 64, 3)
    assert whole.dtype == torch.uint8
    assert torch.equal(whole, cut)


@pytest.mark.parametrize("encoder", ["windows", "blocks", "mel"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_no_frame_depends_on_the_pieces_that_sound_arrives_in(make, encoder, rate):
    clip = synthetic_clip(3.31, rate)
    plugins = discover()
    mel = plugins.find("audio", "mel")
    audio = {"windows": Loudness, "blocks": Blocks, "mel": lambda: build(mel, mel.config())}[encoder]()
    whole = run(make(audio=audio), clip, chunk_seconds=1e3)
    for size in (rate // 5, 1237, rate):
        pieces = [AudioClip(part, rate) for part in clip.samples.split(size)]
        assert torch.equal(run(make(audio=audio), pieces), whole)


def test_the_encoder_hears_every_block_once(make):
    audio = Blocks()
    run(make(audio=audio), synthetic_clip(9.0), chunk_seconds=1.0)
    rows = 9 * 50 + 2 * 25 * 8  # of the clip, and half a second on both sides of each joint between nine blocks
    assert audio.heard == rows


def test_prosody_comes_along_where_a_stage_needs_it(make):
    clip = synthetic_clip(3.31)
    asked = frozenset({"prosody:loudness"})
    whole = prosody(clip, 25.0, asked).loudness
    for audio in (Loudness(), Blocks()):
        cuts = list(make(audio=audio, prosody=asked).cuts(clip, chunk_seconds=0.5))
        said = [cut.drive.audio.prosody[cut.first : cut.last] for cut in cuts]
        assert torch.equal(torch.cat([part.loudness for part in said]), whole)
        assert {part.f0 for part in said} == {None}
    assert next(iter(make().cuts(clip))).drive.audio.prosody is None


def test_the_emotion_reaches_the_picture_when_it_is_due(make):
    clip = synthetic_clip(3.0)
    plain, happy = run(make(), clip, "neutral"), run(make(), clip)
    assert torch.equal(plain[:30], happy[:30])
    assert not torch.equal(plain[45:], happy[45:])


def test_any_length_in_constant_memory(make):
    """An hour's sound is never asked for beyond what the frames taken need."""
    asked = []

    def hour():
        for k in range(3600):
            asked.append(k)
            yield synthetic_clip(1.0, seed=k % 3)

    renderer = Painter()
    first = list(itertools.islice(make(renderer=renderer).frames(hour(), chunk_seconds=2.0), 40))
    assert sum(len(batch) for batch in first) > 100
    assert len(asked) < 15


def test_each_frame_is_rendered_about_once(make):
    renderer = Painter()
    frames = run(make(renderer=renderer), synthetic_clip(8.0), chunk_seconds=2.0)
    assert len(frames) == 200
    assert renderer.rendered <= 200 + 2 * 4  # one beside each of four joints, on both sides


def test_the_size_is_the_callers_or_the_renderers(make):
    clip = synthetic_clip(0.2)
    assert run(make(), clip, size=48).shape[1:3] == (48, 48)
    renderer = Painter()
    renderer.render_size = 32
    assert run(make(renderer=renderer), clip).shape[1:3] == (32, 32)


def test_a_scene_puts_the_head_over_the_footage(make, capture):
    pipeline = make()
    size = 96
    scene = Scene(CaptureFootage(capture), pipeline.motion, size)
    frames = run(make(scene=scene), synthetic_clip(3.0), chunk_seconds=1.0)
    assert frames.shape == (75, size, size, 3)
    corner = capture.frame(10, None)[:6, :6].mean((0, 1))
    assert np.abs(frames[10, :8, :8].float().mean((0, 1)).numpy() - corner).max() < 12
    whole = run(make(scene=scene), synthetic_clip(3.0), chunk_seconds=1e3)
    assert torch.equal(frames, whole)


def test_a_renderer_may_leave_out_what_the_scene_does_not_show(make, capture):
    class Regional(Painter):
        shares = ()

        def render(self, drive, cameras, region=None):
            for batch in super().render(drive, cameras):
                seen = region[batch.start : batch.start + len(batch), ..., None].float()
                self.shares += (float(seen.mean()),)
                yield FrameBatch(batch.rgb * seen, batch.alpha * seen, batch.start)

    pictures, renderers = [], (Painter(), Regional())
    for renderer in renderers:
        renderer.render_size = 48
        pipeline = make(renderer=renderer)
        scene = Scene(CaptureFootage(capture), pipeline.motion, 96)
        pictures.append(run(make(renderer=renderer, scene=scene), synthetic_clip(1.0)))
    assert torch.equal(*pictures)
    assert 0.05 < np.mean(renderers[1].shares) < 0.7


def test_a_moved_head_is_rendered_everywhere(make, capture):
    pipeline = make()
    scene = Scene(CaptureFootage(capture), pipeline.motion, 96, moved=True)
    cut = next(pipeline.cuts(synthetic_clip(0.4)))
    assert scene.region(0, cut.drive.landmarks, cut.cameras) is None


@pytest.mark.parametrize(
    ("part", "method", "message"),
    [
        ("audio", "encode", "Broken.encode: expected 25 rows"),
        ("renderer", "render", "Broken.render: expected 2. frames"),
    ],
)
def test_a_part_that_breaks_its_contract_is_named(make, part, method, message):
    class Broken:
        def encode(self, clip, fps):
            return AudioFeatures(torch.zeros(3, 2), fps)

        def render(self, drive, cameras):
            yield FrameBatch(torch.zeros(2, 8, 8, 3), None, 0)

    with pytest.raises(ShapeError, match=message):
        run(make(**{part: Broken()}), synthetic_clip(1.0))


def test_a_stream_that_gives_other_rows_than_there_are_frames_is_named(make):
    class Short(Blocks):
        def stream(self, sample_rate, fps):
            stream = super().stream(sample_rate, fps)
            whole = stream.close
            stream.close = lambda: whole()[:-1]
            return stream

    with pytest.raises(ShapeError, match=r"Short.encode: expected 25 rows for 1.000 s at 25 fps, got 24"):
        run(make(audio=Short()), synthetic_clip(1.0))


def test_sound_of_two_rates_and_no_sound_are_refused(make):
    with pytest.raises(ShapeError, match="sample rates differ: 16000 and 8000"):
        run(make(), [synthetic_clip(1.0, 16_000), synthetic_clip(1.0, 8_000)])
    with pytest.raises(ShapeError, match="no sound"):
        run(make(), [])


def test_the_drive_says_what_it_was_before_emotion(make):
    clip, plan = synthetic_clip(4.0), "neutral@0 happy@3"
    pipeline = make()
    plain = [cut.drive for cut in pipeline.cuts(clip, "neutral", chunk_seconds=0.9)]
    moved = [cut.drive for cut in pipeline.cuts(clip, plan, chunk_seconds=0.9)]
    assert [drive.neutral for drive in plain] == [None] * len(plain)
    assert moved[0].neutral is None  # nothing has been added yet
    assert moved[-1].neutral is not None
    for before, after in zip(plain, moved, strict=True):
        assert torch.equal(before.landmarks.points, after.speech.landmarks.points)
        assert torch.equal(before.blendshapes.values, after.speech.blendshapes.values)
        assert after.speech.audio is not None
    last = moved[-1]
    assert not torch.equal(last.landmarks.points, last.neutral.landmarks.points)
    part = last[2:5]
    assert len(part.neutral) == 3
    assert torch.equal(part.neutral.landmarks.points, last.neutral.landmarks.points[2:5])


def test_a_drives_neutral_must_fit_it(make):
    drive = next(iter(make().cuts(synthetic_clip(1.0), "happy"))).drive
    with pytest.raises(ShapeError, match="landmarks 25, neutral 3"):
        replace(drive, audio=None, emotion=None, blendshapes=None, neutral=drive.neutral[:3])
    with pytest.raises(ShapeError, match="neutral of its own"):
        replace(drive, neutral=drive)
    sparse = Drive(drive.neutral.landmarks.to_scheme("ibug68"))
    with pytest.raises(ShapeError, match="ibug68, not mediapipe478"):
        replace(drive, neutral=sparse)
