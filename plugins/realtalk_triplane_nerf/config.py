"""Parameters of the tri-plane NeRF."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field

from realtalk_core.spec import ComponentConfig


class TriplaneNerfConfig(ComponentConfig):
    """Parameters of the tri-plane NeRF."""

    size: int = Field(256, ge=32, le=1024)
    """Side in pixels of the pictures it learns from, and at which it is best rendered."""

    steps: int = Field(1500, ge=1)
    """Training steps; on two cores about a quarter of a second each."""

    landmarks: Literal["mediapipe478", "ibug68"] = "mediapipe478"
    """Landmarks that drive it: all 478, or the paper's 68."""

    condition: Literal["components", "window"] = "components"
    """How landmarks enter: principal components, or the paper's attention over three frames of 204 numbers."""

    components: int = Field(24, ge=1, le=200)
    """Principal components of the landmarks, with `condition: components`."""

    blendshapes: Literal["none", "upper", "upper_gaze"] = "upper_gaze"
    """Scores it listens to: none, the paper's seven of brows and blinks, or these and the eight of gaze."""

    attention: bool = True
    """Whether gates decide which region listens to which part of the condition; without, all of it acts everywhere."""

    warp: bool = True
    """Whether sample positions follow the landmarks' motion before the planes are read."""

    warp_side: int = Field(128, ge=8, le=256)
    """Nodes along a side of the warp's grid."""

    template: Literal["open", "apart", "neutral"] = "open"
    """Face the volume is stored in: neutral; with mouth and eyes open, so that teeth and irises have room; or with lips
    as far apart as they get in any frame, for footage full of smiles."""

    grid: Literal["planes", "volume"] = "planes"
    """What holds the head: three planar hash grids, or one of three dimensions with as many numbers."""

    levels: int = Field(12, ge=1, le=24)
    """Resolution levels of each plane."""

    channels: int = Field(1, ge=1, le=4)
    """Features per level."""

    coarsest: int = Field(16, ge=4, le=512)
    """Cells along the head's box at the coarsest level."""

    finest: int = Field(512, ge=8, le=4096)
    """Cells along the head's box at the finest level."""

    log2_entries: int = Field(16, ge=6, le=20)
    """Base-2 logarithm of the entries of each table."""

    width: int = Field(64, ge=8, le=256)
    """Width of the hidden layers."""

    gate_offset: float = Field(1.0, ge=0.0, le=1.0)
    """Added to every attention gate: 0 is the paper's form, 1 lets the condition act before gates are learnt."""

    gate_fade: float = Field(0.0, ge=0.0, le=1.0)
    """Share of the training over which `gate_offset` falls to 0, so that gates alone decide; 0 keeps it."""

    gate_sparsity: float = Field(0.0, ge=0.0)
    """Weight of the gates' norm everywhere: regions that a condition does not concern become independent of it."""

    individual: int = Field(4, ge=0, le=32)
    """Numbers per training frame that absorb what landmarks do not explain (light, hair); their mean is rendered."""

    step_cm: float = Field(0.4, gt=0.02, le=5.0)
    """Distance between samples along a ray in centimetres."""

    cell_cm: float = Field(0.35, gt=0.05, le=5.0)
    """Side of a cell of the occupancy grid in centimetres."""

    samples_per_ray: int = Field(32, ge=4, le=256)
    """Most samples a ray may have."""

    tolerance: float = Field(1 / 256, ge=0.0, le=0.5)
    """Most that rendering faster may change a premultiplied colour: rays end, and colours are spared, where less than
    this can still be seen. 0 evaluates every sample."""

    static_tolerance: float = Field(1 / 256, ge=0.0, le=0.5)
    """Most that knowing what never moves may change a premultiplied colour: cells that are empty under all conditions
    are passed by, gates are left out where they make no difference. 0 measures nothing and evaluates everything."""

    chunks_per_step: int = Field(16, ge=1, le=64)
    """Frames that a training step draws rays from; each is one chunk of work."""

    rays_per_chunk: int = Field(1024, ge=64, le=65536)
    """Rays drawn from each of these frames."""

    patch_from: float = Field(0.6, ge=0.0, le=1.0)
    """Share of the training after which every second step learns from patches around mouth and eyes; 1 for never."""

    patch_size: int = Field(64, ge=16, le=256)
    """Side of these patches in pixels."""

    patch_weight: float = Field(0.1, ge=0.0)
    """Weight of the patches' perceptual loss."""

    perceptual: Literal["auto", "lpips", "structure"] = "auto"
    """Loss of patches: LPIPS, downloaded if need be; differences of structure and gradients; or auto: LPIPS if both of
    its files are on this machine, else the other."""

    lips_from: float = Field(1.0, ge=0.0, le=1.0)
    """Share of the training after which steps alternate between patches and rectangles around the lips; 1 for never."""

    lips_weight: float = Field(0.01, ge=0.0)
    """Weight of the perceptual loss of these rectangles."""

    entropy_weight: float = Field(1e-3, ge=0.0)
    """Weight of the rays' opacity entropy."""

    ambient_weight: float = Field(1e-4, ge=0.0)
    """Weight of the gates' size, the mouth's in the upper face and the eyes' in the lower: without a `gate_offset` it
    keeps these conditions out of there, with one it keeps gates from adding to it."""

    uncertainty_weight: float = Field(0.0, ge=0.0)
    """Weight of a learnt uncertainty, which turns the colour loss towards rays that are hard to explain; 0 for none."""

    smooth_weight: float = Field(0.0, ge=0.0)
    """Weight of the change of densities and colours under a small displacement, every 16th step; 0 for none."""

    ramp: float = Field(0.0, ge=0.0, le=1.0)
    """Share of the training over which ambient, uncertainty and smoothness grow to their weights; the paper's is 1."""

    alpha_weight: float = Field(0.1, ge=0.0)
    """Weight of the difference between opacity and the head's mask."""

    condition_noise: float = Field(0.0, ge=0.0, le=2.0)
    """Noise on the landmark features while training, in their standard deviations; with `window` in centimetres."""

    lr_grid: float = Field(1e-2, gt=0.0)
    """First learning rate of the planes."""

    lr_net: float = Field(4e-3, gt=0.0)
    """First learning rate of the networks."""

    lr_attention: float | None = Field(None, gt=0.0)
    """First learning rate of gates and of the window's attention; the networks' if not given."""

    decay_net: float = Field(0.0, ge=0.0)
    """Weight decay of the networks."""

    decay_attention: float = Field(0.0, ge=0.0)
    """Weight decay of gates and of the window's attention."""

    lr_fall: float = Field(0.1, gt=0.0, le=1.0)
    """What is left of the learning rates at the end of the training."""

    lr_fall_lips: float = Field(0.05, gt=0.0, le=1.0)
    """The same, in the part that learns lips."""

    momentum: float = Field(0.9, ge=0.0, lt=1.0)
    """Decay of the optimizer's mean of gradients."""

    ema: float = Field(0.95, ge=0.0, lt=1.0)
    """Decay per step of the moving average of the weights that is rendered."""

    max_frames: int = Field(1500, ge=1)
    """Most training frames held in memory (0.33 MB each at 256²); more are thinned, rare expressions last."""

    torso: bool = True
    """Whether the torso below the head is learnt too, so that it can be rendered where the film's cannot be shown."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the networks; auto takes bfloat16 where the processor multiplies it natively."""

    frames_per_batch: int = Field(4, ge=1, le=64)
    """Frames yielded at a time."""

    TRAINED: ClassVar[tuple[str, ...]] = (
        "landmarks", "condition", "components", "attention", "grid", "blendshapes", "warp", "levels", "channels",
        "coarsest", "finest", "log2_entries", "width", "individual",
    )  # fmt: skip

    @classmethod
    def tiny(cls) -> Self:
        """A few thousand weights at 32²."""
        return cls(
            size=32, steps=40, components=6, warp_side=16, levels=4, coarsest=8, finest=32, log2_entries=10, width=16,
            step_cm=1.5, cell_cm=1.5, samples_per_ray=12, chunks_per_step=2, rays_per_chunk=256, patch_size=16,
            frames_per_batch=2, lr_net=5e-3, precision="float32",
        )  # fmt: skip
