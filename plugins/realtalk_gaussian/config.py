"""Parameters of the Gaussian renderer."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator

from realtalk_core.spec import ComponentConfig
from realtalk_gaussian.loss_table import complete


class GaussianConfig(ComponentConfig):
    """Parameters of the Gaussian renderer."""

    # What is rendered

    size: int = Field(256, ge=32, le=1024)
    """Side in pixels of the pictures it learns from."""

    gaussians: int = Field(20000, ge=64, le=1_000_000)
    """Gaussians that the tracked face is seeded with."""

    max_gaussians: int = Field(30000, ge=64, le=1_000_000)
    """Most that densification may make of them."""

    sh_degree: int = Field(1, ge=0, le=3)
    """Degree of the spherical harmonics of colours: how they depend on the view."""

    landmarks: Literal["mediapipe478", "ibug68"] = "mediapipe478"
    """Landmarks that drive it: all 478, or the paper's 68."""

    condition: Literal["components", "audio", "both"] = "components"
    """What moves the branches of face and mouth: the landmarks' principal components, the sound, or both."""

    components: int = Field(24, ge=1, le=200)
    """Principal components of the landmarks."""

    audio_context: int = Field(2, ge=0, le=8)
    """Frames of sound to each side that a frame listens to."""

    blendshapes: Literal["none", "upper", "upper_gaze"] = "upper_gaze"
    """Scores it listens to: none, the seven of brows and blinks, or these and the eight of gaze."""

    attention: bool = True
    """Whether gates decide which Gaussian listens to which part of the condition; else all of it acts everywhere."""

    gate_offset: float = Field(1.0, ge=0.0, le=1.0)
    """Added to every attention gate: 0 is the papers' form, 1 lets the condition act before gates are learnt."""

    emotion: Literal["landmarks", "branch", "none"] = "landmarks"
    """How emotion enters: with the landmarks, by a branch of its own for valence and arousal, or not at all."""

    teacher: str = "landmarks"
    """Who teaches the emotion branch: the avatar's emotion stage, by its landmarks; or an installed face_generator."""

    warp: bool = True
    """Whether Gaussians follow the landmarks' motion; branches then learn what it leaves over."""

    warp_side: int = Field(96, ge=8, le=256)
    """Nodes along a side of the warp's grid."""

    template: Literal["open", "apart", "neutral"] = "open"
    """Face the Gaussians are stored in: neutral; with mouth and eyes open; or with lips as far apart as they get."""

    shade: bool = True
    """Whether the face branch shades Gaussians as well as moving them (wrinkles, shadows); the papers' does not."""

    levels: int = Field(8, ge=1, le=24)
    """Resolution levels of each branch's planes."""

    coarsest: int = Field(16, ge=4, le=512)
    """Cells along the head's box at the coarsest level."""

    finest: int = Field(256, ge=8, le=4096)
    """Cells along the head's box at the finest level."""

    log2_entries: int = Field(14, ge=6, le=20)
    """Base-2 logarithm of the entries of each table."""

    width: int = Field(32, ge=8, le=256)
    """Width of the branches' hidden layers."""

    torso: bool = True
    """Whether the torso below the head is learnt too, so that it can be rendered where the film's cannot be shown."""

    frames_per_batch: int = Field(4, ge=1, le=64)
    """Frames yielded at a time."""

    # How it learns

    steps: int = Field(1500, ge=1)
    """Training steps."""

    frames_per_step: int = Field(2, ge=1, le=64)
    """Frames that a training step draws."""

    share_canonical: float = Field(0.1, ge=0.0, le=1.0)
    """Share of the steps that learn the still head, moved by the warp alone."""

    share_emotion: float = Field(0.15, ge=0.0, le=1.0)
    """Share of the steps that teach the emotion branch, where there is one."""

    share_finetune: float = Field(0.05, ge=0.0, le=1.0)
    """Share of the steps that only adjust colours and opacities of the whole picture."""

    lr_means: float = Field(5e-4, gt=0.0)
    """First learning rate of the Gaussians' centres, as a share of the head's size."""

    lr_scales: float = Field(5e-3, gt=0.0)
    """First learning rate of their scales' logarithms."""

    lr_rotations: float = Field(1e-3, gt=0.0)
    """First learning rate of their rotations."""

    lr_opacities: float = Field(5e-2, gt=0.0)
    """First learning rate of their opacities."""

    lr_colours: float = Field(2.5e-3, gt=0.0)
    """First learning rate of their colours; higher harmonics learn at a twentieth of it."""

    lr_normals: float = Field(1e-3, gt=0.0)
    """First learning rate of their normals' residuals."""

    lr_hash: float = Field(2e-2, gt=0.0)
    """First learning rate of the planes."""

    lr_net: float = Field(6e-3, gt=0.0)
    """First learning rate of the networks."""

    lr_fall: float = Field(0.05, gt=0.0, le=1.0)
    """What is left of the learning rates at the end of the training."""

    decay_net: float = Field(0.0, ge=0.0)
    """Weight decay of the networks."""

    ema: float = Field(0.95, ge=0.0, lt=1.0)
    """Decay per step of the moving average of the weights that is rendered."""

    max_frames: int = Field(1500, ge=1)
    """Most training frames held in memory (0.33 MB each at 256²); more are thinned, rare expressions last."""

    condition_noise: float = Field(0.0, ge=0.0, le=2.0)
    """Noise on the landmarks' components while training, in their standard deviations."""

    perceptual: Literal["auto", "lpips", "structure"] = "auto"
    """Perceptual loss: LPIPS, downloaded if need be; differences of structure and gradients; or auto: LPIPS if both of
    its files are on this machine, else the other."""

    patch_size: int = Field(96, ge=16, le=256)
    """Side in pixels of the patches that are compared perceptually."""

    losses: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Weights of losses by phase (canonical, motion, emotion, finetune) and term, where they differ from the default's,
    as in {motion: {dssim: 0.2}}. Terms: l1, dssim, lpips, normals, normals_tv, normals_residual, alpha, opening,
    opacities, scales; for emotion also means, covariances. The place of sync waits for a lip-sync expert."""

    strategy: Literal["default", "mcmc", "none"] = "default"
    """How the number of Gaussians changes while training: by gsplat's default strategy, its MCMC (which wants the
    losses opacities and scales, 0.01 each), or not at all."""

    densify_every: int = Field(100, ge=1)
    """Steps between refinements."""

    densify_from: float = Field(0.1, ge=0.0, le=1.0)
    """Share of the canonical and motion steps after which Gaussians are split, cloned and pruned."""

    densify_until: float = Field(0.6, ge=0.0, le=1.0)
    """Share of the canonical and motion steps after which their number stays."""

    grow_gradient: float = Field(4e-4, ge=0.0)
    """Mean gradient of a centre, in normalised picture coordinates, above which a Gaussian is cloned or split."""

    grow_scale: float = Field(0.01, ge=0.0)
    """Scale above which it is split rather than cloned, as a share of the head's half side."""

    prune_scale: float = Field(0.1, ge=0.0)
    """Scale above which it is pruned, as a share of the head's half side."""

    prune_opacity: float = Field(0.005, ge=0.0, lt=1.0)
    """Opacity below which it is pruned."""

    grow_radius: float = Field(0.0, ge=0.0, le=1.0)
    """Radius above which it is split, as a share of the picture's side, and pruned above thrice it; 0 for never."""

    opacity_reset_every: int = Field(0, ge=0)
    """Steps between resets of all opacities to a low value; 0 for never."""

    noise: float = Field(5e5, ge=0.0)
    """Noise on the centres under `strategy: mcmc`, relative to their learning rate."""

    @field_validator("losses", mode="before")
    @classmethod
    def _whole_table(cls, given: Any) -> dict[str, dict[str, float]]:
        return complete(given)

    TRAINED: ClassVar[tuple[str, ...]] = (
        "sh_degree", "landmarks", "condition", "components", "audio_context", "blendshapes", "attention",
        "gate_offset", "emotion", "warp", "template", "shade", "levels", "coarsest", "finest", "log2_entries", "width",
    )  # fmt: skip

    @classmethod
    def tiny(cls) -> Self:
        """A thousand Gaussians at 32²."""
        return cls(
            size=32, gaussians=600, max_gaussians=900, steps=40, frames_per_step=2, components=6, warp_side=16,
            levels=3, coarsest=8, finest=32, log2_entries=8, width=16, frames_per_batch=2, densify_every=4,
        )  # fmt: skip
