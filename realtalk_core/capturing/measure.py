"""The quality report in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from realtalk_core.capturing.sync import Sync, measure_sync
from realtalk_core.types import AudioClip

Array = NDArray[np.float64]

SILENCE_DB = -50.0
SPEECH_ABOVE_FLOOR_DB = 12.0


@dataclass(frozen=True)
class Measures:
    """Everything the report states; all of it is written to `capture.yaml`.

    Attributes:
        frames: Frames of the capture.
        seconds: Their duration.
        source_fps: Rate of the source; 0 if it states none.
        repeated: Share of frames that repeat the one before because the source had no newer one.
        missing: Frames without the person's face.
        longest_gap: Longest run of them, in seconds.
        first_face: Second at which the face is first seen.
        people: How many people were seen for a second or more.
        crowded: Share of frames with several faces.
        chosen: Why this person, if there were several.
        cuts: Seconds at which a new shot begins.
        face_width: Median width of the face in pixels of the source.
        face_width_crop: The same in pixels of the capture.
        outside: Share of the crop outside the picture.
        sharpness: Median log variance of the Laplacian on the face at 128 pixels.
        blurred: Share of frames much less sharp than that.
        yaw: 2nd and 98th percentile in degrees; positive: towards the person's left.
        pitch: The same; positive: up.
        roll: The same.
        mouth: 5th and 95th percentile of the inner lips' distance, cm.
        blinks: How many.
        eyes_tracked: Whether lids could be told from the landmarks.
        reprojection: Rms distance of the solved rigid points from the tracked ones, px of the crop.
        reprojection_median: Median of the same.
        jitter_deg: Rms third difference of the pose's rotation, degrees.
        jitter_cm: Rms third difference of the head's place, cm.
        raw_jitter_deg: The same before smoothing.
        raw_jitter_cm: The same before smoothing.
        focal: Focal length in pixels of the crop.
        loudness_db: Loudness of the speech in dB of full scale; None without sound.
        clipped: Share of samples at full scale.
        silent: Share of frames without sound worth mentioning.
        lag_ms: See `sync.Sync`; None if it could not be told.
        sync: Correlation of mouth and sound at that lag; None likewise.
        segmentation: What told person from background.
        plate_known: Share of the background plate that was seen.
        background_moves: Whether the background changes too much for a plate.
    """

    frames: int
    seconds: float
    source_fps: float
    repeated: float
    missing: int
    longest_gap: float
    first_face: float
    people: int
    crowded: float
    chosen: str
    cuts: tuple[float, ...]
    face_width: float
    face_width_crop: float
    outside: float
    sharpness: float
    blurred: float
    yaw: tuple[float, float]
    pitch: tuple[float, float]
    roll: tuple[float, float]
    mouth: tuple[float, float]
    blinks: int
    eyes_tracked: bool
    reprojection: float
    reprojection_median: float
    jitter_deg: float
    jitter_cm: float
    raw_jitter_deg: float
    raw_jitter_cm: float
    focal: float
    loudness_db: float | None
    clipped: float
    silent: float
    lag_ms: float | None
    sync: float | None
    segmentation: str
    plate_known: float
    background_moves: bool
    curves: Curves = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, rounded; without the curves."""
        out: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if name != "curves":
                out[name] = _plain(value)
        return out


@dataclass(frozen=True)
class Curves:
    """What the overview draws: one value per frame.

    Attributes:
        mouth: Inner lips' distance, cm.
        loudness: dB of full scale; empty without sound.
    """

    mouth: Array
    loudness: Array


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 4)
    return value


def head_angles(pose: Array) -> Array:
    """Yaw, pitch and roll of camera-to-head poses `T 4 4`, degrees `T 3`.

    Yaw is positive towards the person's left, pitch upwards, roll towards the person's right shoulder.
    """
    upright = np.diag([1.0, -1.0, -1.0]) @ pose[:, :3, :3].transpose(0, 2, 1)
    yaw, pitch, roll = Rotation.from_matrix(upright).as_euler("YXZ", degrees=True).T
    return np.stack([yaw, -pitch, roll], axis=1)


def angle_range(values: Array) -> tuple[float, float]:
    """2nd and 98th percentile."""
    low, high = np.percentile(values, (2, 98))
    return float(low), float(high)


def mouth_curves(landmarks: Array) -> Array:
    """Opening, jaw, width and lower lip of each frame (cm), `T 4`; for either landmark scheme."""
    top, bottom, chin, right, left, lower = (
        (13, 14, 152, 61, 291, 17) if landmarks.shape[1] == 478 else (62, 66, 8, 48, 54, 57)
    )
    return np.stack(
        [
            landmarks[:, top, 1] - landmarks[:, bottom, 1],
            -landmarks[:, chin, 1],
            landmarks[:, left, 0] - landmarks[:, right, 0],
            -landmarks[:, lower, 1],
        ],
        axis=1,
    )


def eye_opening(landmarks: Array) -> Array:
    """Lids' distance over the eye's width, mean of both eyes, `T`."""
    if landmarks.shape[1] == 478:
        eyes = ((159, 145, 33, 133), (386, 374, 263, 362))
    else:
        eyes = ((37, 41, 36, 39), (44, 46, 45, 42))
    return np.asarray(
        np.mean(
            [
                (landmarks[:, top, 1] - landmarks[:, bottom, 1])
                / np.linalg.norm(landmarks[:, a] - landmarks[:, b], axis=-1)
                for top, bottom, a, b in eyes
            ],
            axis=0,
        )
    )


def count_blinks(opening: Array, fps: float, valid: NDArray[np.bool_]) -> int:
    """Short dips of the eye opening below half of what is usual around them, at most 0.5 s long."""
    reach = max(1, round(1.0 * fps))
    padded = np.pad(opening, reach, mode="edge")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1), axis=1)
    closed = (opening < 0.6 * usual) & valid
    edges = np.flatnonzero(np.diff(np.concatenate([[0], closed.astype(np.int8), [0]])))
    lengths = edges[1::2] - edges[::2]
    return int((lengths <= 0.5 * fps).sum())


def longest_run(flags: NDArray[np.bool_]) -> int:
    """Length of the longest run of true values.

    >>> longest_run(np.array([True, False, True, True]))
    2
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def loudness(clip: AudioClip, frames: int, fps: float) -> Array:
    """Rms level of each frame in dB of full scale, not below -100."""
    samples = clip.samples.numpy()
    bounds = (np.arange(frames + 1) * clip.sample_rate / fps).round().astype(int)
    power = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    bounds = np.minimum(bounds, len(samples))
    mean = (power[bounds[1:]] - power[bounds[:-1]]) / np.maximum(bounds[1:] - bounds[:-1], 1)
    return np.asarray(10 * np.log10(np.maximum(mean, 1e-10)))


@dataclass(frozen=True)
class Hearing:
    """What the sound says.

    Attributes:
        loudness: dB per frame; empty without sound.
        speech_db: Level of the loud half; None without sound.
        clipped: Share of samples at full scale.
        silent: Share of silent frames.
        sync: Sound against mouth.
    """

    loudness: Array
    speech_db: float | None
    clipped: float
    silent: float
    sync: Sync | None


def hear(clip: AudioClip | None, landmarks: Array, fps: float, valid: NDArray[np.bool_]) -> Hearing:
    """Measures the sound of a capture; `clip` None if it has none."""
    if clip is None:
        return Hearing(np.zeros(0), None, 0.0, 1.0, None)
    level = loudness(clip, len(landmarks), fps)
    floor = float(np.percentile(level, 5))
    bar = max(SILENCE_DB, min(floor + SPEECH_ABOVE_FLOOR_DB, float(np.percentile(level, 95)) - 20.0))
    loud = level > bar
    speech = 10 * np.log10(np.mean(10 ** (level[loud] / 10))) if loud.any() else float(level.max())
    clipped = float((clip.samples.abs() > 0.999).float().mean())
    return Hearing(
        level, float(speech), clipped, float(1 - loud.mean()), measure_sync(clip, mouth_curves(landmarks), fps, valid)
    )
