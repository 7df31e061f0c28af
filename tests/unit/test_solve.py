"""The pose solve against a truth that is known: a synthetic clip's poses, shape, camera and landmarks."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from realtalk_core.capturing.canonical import RIGID478
from realtalk_core.capturing.expression import back_project, head_landmarks, project
from realtalk_core.capturing.measure import count_blinks, eye_opening, head_angles, mouth_curves
from realtalk_core.capturing.smooth import fill, jitter, smooth
from realtalk_core.capturing.solve import Rigid, initial_pose, reprojection, solve
from realtalk_core.testing.face import neutral_face
from realtalk_core.testing.synthetic import motion

SIZE, FOCAL = 512, 768.0
CENTRE = np.array([256.0, 250.0])
RIGID = np.array(RIGID478)


def clip(frames: int = 60, noise: float = 0.5, seed: int = 0, lost: tuple[int, ...] = ()):
    """Truth, tracked points `T 478 3` in pixels with noise and relative depth, and the valid flags."""
    truth = motion(frames, seed)
    rng = np.random.default_rng(seed)
    seen = np.einsum("tij,tkj->tki", truth.to_camera[:, :3, :3], truth.landmarks) + truth.to_camera[:, None, :3, 3]
    pixels = seen[..., :2] / seen[..., 2:] * FOCAL + CENTRE
    depth = (seen[..., 2] - truth.to_camera[:, None, 2, 3]) * FOCAL / truth.to_camera[:, None, 2, 3]
    # a tracker's depth is scaled, tilted and much noisier than its picture points
    depth = 0.8 * depth + 0.05 * (pixels[..., 0] - 256) + 4 * noise * rng.standard_normal(depth.shape)
    image = np.concatenate([pixels + noise * rng.standard_normal(pixels.shape), depth[..., None]], -1)
    valid = np.ones(frames, bool)
    valid[list(lost)] = False
    image[~valid] = 0.0
    return truth, fill(image, valid), valid


@pytest.fixture(autouse=True)
def _few_distances(monkeypatch):
    """The full scan of focal lengths is for real clips; it costs seconds."""
    monkeypatch.setattr("realtalk_core.capturing.solve.DISTANCES_CM", (35.0, 60.0, 100.0))


def solved(image, valid):
    return solve(image[:, RIGID, :2], valid, canonical()[RIGID], CENTRE)


def canonical() -> np.ndarray:
    """An average face that is not this person's: 3 % narrower, and uneven by 2 mm."""
    rng = np.random.default_rng(7)
    return neutral_face() * (0.97, 1.02, 1.0) + 0.1 * rng.standard_normal((478, 3))


def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees between rotations, their common offset removed."""
    apart = Rotation.from_matrix(a) * Rotation.from_matrix(b).inv()
    return np.degrees((apart * apart.mean().inv()).magnitude())


def test_initial_pose_is_near():
    truth, image, _ = clip(noise=0.0)
    face = neutral_face()
    head = initial_pose(image[:, RIGID, :2], face[RIGID], FOCAL, CENTRE)
    assert np.median(angle(head.rotation, truth.to_camera[:, :3, :3])) < 3


def test_recovers_poses():
    truth, image, valid = clip()
    found = solved(image, valid)
    assert np.sqrt((angle(found.head.rotation, truth.to_camera[:, :3, :3]) ** 2).mean()) < 0.5
    errors = reprojection(image[:, RIGID, :2], found.head, found.shape, found.focal, CENTRE)
    assert np.sqrt((errors**2).mean()) < 1.0
    # the focal length is nearly unobservable in such a clip, but stays in reason
    assert 0.6 < found.focal / FOCAL < 1.8
    # the person's own shape is nearer to the truth than the average face it started from
    moved = found.shape - found.shape.mean(0)
    wanted = neutral_face()[RIGID] - neutral_face()[RIGID].mean(0)
    start = canonical()[RIGID] - canonical()[RIGID].mean(0)
    scale = (moved[:, :2] * wanted[:, :2]).sum() / (moved[:, :2] ** 2).sum()
    assert np.abs(scale * moved[:, :2] - wanted[:, :2]).mean() < 0.7 * np.abs(start[:, :2] - wanted[:, :2]).mean()


def test_outliers_hardly_matter():
    truth, image, valid = clip()
    rng = np.random.default_rng(1)
    bad = rng.random((len(image), 478)) < 0.08
    image[bad, :2] += rng.uniform(-40, 40, (int(bad.sum()), 2))
    found = solved(image, valid)
    assert np.sqrt((angle(found.head.rotation, truth.to_camera[:, :3, :3]) ** 2).mean()) < 0.7


def test_smoothing_lowers_jitter_and_error_within_its_budget():
    truth, image, valid = clip(noise=1.0)
    found = solved(image, valid)
    result = smooth(found, image[:, RIGID, :2], valid, (), budget=0.05)
    before, after = jitter(found.head, valid, ()), jitter(result.head, valid, ())
    assert after[0] < 0.5 * before[0]
    assert after[1] < 0.5 * before[1]
    assert result.error[1] - result.error[0] <= 0.05
    assert (
        angle(result.head.rotation, truth.to_camera[:, :3, :3]).mean()
        < angle(found.head.rotation, truth.to_camera[:, :3, :3]).mean()
    )


def test_a_cut_is_not_smoothed_over():
    _, image, valid = clip(60)
    image[30:, :, 0] += 60.0  # the head jumps aside
    found = solved(image, valid)
    with_cut = smooth(found, image[:, RIGID, :2], valid, (30,), budget=0.05)
    without = smooth(found, image[:, RIGID, :2], valid, (), budget=0.05)

    def step(head: Rigid) -> float:
        return float(np.linalg.norm(head.camera(found.shape).mean(1)[30] - head.camera(found.shape).mean(1)[29]))

    assert step(with_cut.head) > 0.95 * step(found.head)
    assert with_cut.strength > 10 * without.strength


def test_lost_frames_follow_their_neighbours():
    lost = (*range(30, 40), 0, 1, 59)
    truth, image, valid = clip(lost=lost)
    result = smooth(solved(image, valid), image[:, RIGID, :2], valid, (), budget=0.05)
    assert np.isfinite(result.head.rotation).all()
    assert angle(result.head.rotation, truth.to_camera[:, :3, :3])[30:40].max() < 6


def test_one_frame_is_enough():
    _, image, valid = clip(1)
    found = solved(image, valid)
    result = smooth(found, image[:, RIGID, :2], valid, (), budget=0.05)
    assert np.isfinite(result.head.translation).all()


def test_projection_and_back():
    truth, image, _ = clip(5, noise=0.0)
    pose = np.linalg.inv(truth.to_camera)
    intrinsics = np.array([[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]])
    pixels, _ = project(truth.landmarks[2], pose, intrinsics)
    assert pixels.shape == (5, 478, 2)
    seen = np.einsum("tij,tkj->tki", truth.to_camera[:, :3, :3], truth.landmarks) + truth.to_camera[:, None, :3, 3]
    assert back_project(image[..., :2], seen[..., 2], pose, intrinsics) == pytest.approx(truth.landmarks, abs=1e-9)


def landmarks_of(truth, image, valid, cuts=()):
    pose = np.linalg.inv(truth.to_camera)
    intrinsics = np.array([[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]])
    return head_landmarks(image, pose, intrinsics, valid, RIGID, neutral_face()[RIGID], canonical(), cuts)


def test_landmarks_in_head_space():
    truth, image, valid = clip(200, noise=0.5)
    found, neutral = landmarks_of(truth, image, valid)
    apart = found - truth.landmarks
    assert np.sqrt((apart[..., :2] ** 2).mean()) < 0.05
    # depth: the tracker's noise (2 px, about 0.15 cm a frame) is gone; what remains is its constant bias
    assert np.diff(found[..., 2], axis=0).std() < 0.25 * 2 * 2**0.5 * 46 / FOCAL
    assert np.abs(apart[..., 2].mean(0)).mean() < 0.35
    assert np.abs(neutral - neutral_face())[:, :2].mean() < 0.1
    # nothing is lost on the picture: the landmarks project back to where the tracker saw them
    pixels, _ = project(
        found[20], np.linalg.inv(truth.to_camera)[20:21], np.array([[FOCAL, 0, 256], [0, FOCAL, 250], [0, 0, 1]])
    )
    assert np.sqrt(((pixels[0] - image[20, :, :2]) ** 2).mean()) < 0.6


def test_blinks_and_closures_survive():
    truth, image, valid = clip(250, noise=0.3)
    found, _ = landmarks_of(truth, image, valid)
    for curve in (lambda x: mouth_curves(x)[:, 0], eye_opening):
        wanted, got = curve(truth.landmarks), curve(found)
        span = np.quantile(wanted, 0.98) - np.quantile(wanted, 0.02)
        kept = np.quantile(got, 0.98) - np.quantile(got, 0.02)
        assert kept > 0.95 * span
    true_blinks = count_blinks(eye_opening(truth.landmarks), 25, valid)
    assert true_blinks >= 3
    assert count_blinks(eye_opening(found), 25, valid) == true_blinks


def test_closed_lips_read_as_closed():
    truth, image, valid = clip(250, noise=0.3)
    found, _ = landmarks_of(truth, image, valid)
    gap, wanted = mouth_curves(found)[:, 0], mouth_curves(truth.landmarks)[:, 0]
    closed = wanted < np.quantile(wanted, 0.05)
    assert np.abs(gap[closed] - wanted[closed]).mean() < 0.03


def test_without_depth_the_shape_gives_it():
    truth, image, valid = clip(60, noise=0.2)
    image[..., 2] = 0.0
    found, _ = landmarks_of(truth, image, valid)
    assert np.abs(found[..., 2] - truth.landmarks[..., 2]).mean() < 0.5


def test_head_angles_have_their_signs():
    def turned(axis: str, degrees: float) -> np.ndarray:
        pose = np.eye(4)
        pose[:3, :3] = (np.diag([1.0, -1, -1]) @ Rotation.from_euler(axis, degrees, degrees=True).as_matrix()).T
        return head_angles(pose[None])[0]

    assert turned("y", 20) == pytest.approx([20, 0, 0])  # towards +x, the person's left
    assert turned("x", -10) == pytest.approx([0, 10, 0])  # the nose goes up
    assert turned("z", 5) == pytest.approx([0, 0, 5])
