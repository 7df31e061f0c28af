"""One person's head: two clouds of Gaussians, what moves them, and how a frame is posed, drawn and put together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from realtalk_core.expression import ExpressionBasis
from realtalk_core.landmarks import LIPS_INNER, LIPS_OUTER
from realtalk_core.nn.forward_warp import ForwardField, ForwardWarp
from realtalk_core.nn.splat_projection import rotation_matrices
from realtalk_core.nn.splatting import Screen, View, covariances, project, rasterise, sh_colours
from realtalk_core.nn.warp import Warper
from realtalk_core.training.bounds import TEMPLATES, head_box
from realtalk_core.training.data import TrainingData
from realtalk_core.types import LandmarkTrack
from realtalk_gaussian.branches import Branch, Known
from realtalk_gaussian.cloud import LEAST_SCALE, MOST_SCALE, Cloud
from realtalk_gaussian.condition import EMOTION_CODE, AudioScale, FrameCondition, MotionCode, emotion_code
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.rigid import CHIN68, CHIN478, TEETH_SHARE, motions, moved_rigidly
from realtalk_gaussian.seeding import seed_clouds

BRANCHES = frozenset({"face", "mouth", "emotion"})
LAYERS = ("face", "mouth")
MOVE, SHADE = 0.2, 0.1
"""What a branch's output of 1 means: centimetres (and logarithms of scales, and quaternions), and colour."""
LIMITS = (*3 * (3.0,), *3 * (2.5,), *4 * (1.5,), *3 * (1.5,))
"""Most that the branches of face and mouth may give (0.6 cm, 0.5 in a scale's logarithm, 0.3, 0.15): about what one
output in a thousand reaches in training. Told of a face unlike any filmed, a branch without bounds swells Gaussians."""
BEHIND = 1000.0
"""Added to the depths of what lies behind the face where both layers are drawn at once, cm."""
FAR = 1000.0
"""Distance of an eye that sees all normals' fronts, cm."""


@dataclass(frozen=True, slots=True)
class Motion:
    """How one frame moves the template before any branch.

    Attributes:
        skin: The landmarks' warp.
        parts: Rigid motions, see `rigid.motions`.
    """

    skin: ForwardField
    parts: Float[Tensor, "3 3 4"]

    def to(self, device: torch.device) -> Motion:
        """The same there."""
        return Motion(self.skin.to(device), self.parts.to(device))


@dataclass(frozen=True, slots=True)
class Posed:
    """Gaussians of one layer as a frame has them.

    Attributes:
        means: Head space, cm.
        scales: Standard deviations before the stretch, cm.
        rotations: Quaternions before the stretch.
        stretch: Jacobian of what moved them; None for none.
        opacities: In [0, 1].
        colours: Coefficients of harmonics.
        shade: Added to the colours; None for none.
        normals: Residuals of the normals; None for the mouth.
    """

    means: Float[Tensor, "N 3"]
    scales: Float[Tensor, "N 3"]
    rotations: Float[Tensor, "N 4"]
    stretch: Float[Tensor, "N 3 3"] | None
    opacities: Float[Tensor, "N"]
    colours: Float[Tensor, "N K 3"]
    shade: Float[Tensor, "N 3"] | None
    normals: Float[Tensor, "N 3"] | None

    def covariances(self) -> Float[Tensor, "N 6"]:
        """After the stretch, cm²."""
        return covariances(self.scales, self.rotations, self.stretch)

    def seen(self, view: View) -> Float[Tensor, "N 3"]:
        """Colours as a camera sees them, at least 0."""
        colours = sh_colours(self.colours, self.means, view)
        return colours if self.shade is None else (colours + self.shade).clamp(min=0)

    def turned_normals(self, eye: Float[Tensor, "3"] | None = None) -> Float[Tensor, "N 3"]:
        """Unit normals: the shortest axis turned to the eye, with the learnt residual (GaussianShader §3.2).

        After the stretch: a surface's normal goes by the inverse transpose of its Jacobian.

        Args:
            eye: Where the camera is; far in front of the face if None.
        """
        assert self.normals is not None
        shortest = self.scales.argmin(1)[:, None, None].expand(-1, 3, 1)
        axis = rotation_matrices(self.rotations).gather(2, shortest)[..., 0]
        to_eye = (axis.new_tensor([0.0, 0.0, FAR]) if eye is None else eye) - self.means.detach()
        away = (axis.detach() * to_eye).sum(1, keepdim=True) < 0
        normal = F.normalize(torch.where(away, -axis, axis) + self.normals, dim=1)
        if self.stretch is None:
            return normal
        a, b, c = self.stretch.detach().unbind(2)
        cofactors = torch.stack((torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)), 2)
        return F.normalize((cofactors @ normal[..., None])[..., 0], dim=1)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as a picture.

    Attributes:
        picture: `H W 3`, premultiplied by opacity.
        alpha: `H W`.
        normals: `H W 3`, premultiplied; None if not asked for.
        screen: The Gaussians as the camera saw them.
    """

    picture: Float[Tensor, "H W 3"]
    alpha: Float[Tensor, "H W"]
    normals: Float[Tensor, "H W 3"] | None
    screen: Screen


@dataclass(frozen=True, slots=True)
class Layers:
    """A frame's layers.

    Attributes:
        face: The face; or face and mouth at once, if they were drawn joined.
        mouth: What lies behind lips and lids; None if joined.
    """

    face: Layer
    mouth: Layer | None


class Head(nn.Module):
    """Everything that a frame is made of.

    Args:
        config: Parameters.
        basis: Principal components of the landmarks.
        template: The face the Gaussians are stored in, cm.
        box: Corner and side of the box that the planes cover, cm: x, y, z, side.
        face: Skin, hair, ears, neck.
        mouth: What lies behind lips and lids.
        audio: Scale of the sound's features; None if they are not listened to.
    """

    def __init__(
        self,
        config: GaussianConfig,
        basis: ExpressionBasis,
        template: Float[Tensor, "K 3"],
        box: Float[Tensor, "4"],
        face: Cloud,
        mouth: Cloud,
        audio: AudioScale | None = None,
    ) -> None:
        super().__init__()
        self.config, self.basis, self.template, self.audio = config, basis, template.float(), audio
        self.warper = Warper.around(self.template, config.warp_side, still_mouth=True) if config.warp else None
        self.forward_warp = None if self.warper is None else ForwardWarp.of(self.warper)
        self.register_buffer("box", box.float(), persistent=False)
        self.box: Tensor
        self.face, self.mouth = face, mouth
        self.code = MotionCode(config, len(basis.scale), 0 if audio is None else len(audio.mean))
        self.face_branch = Branch(config, self.code.sizes, 13 if config.shade else 10)
        self.mouth_branch = Branch(config, self.code.sizes, 3)
        self.emotion_branch = Branch(config, (EMOTION_CODE,), 10) if config.emotion == "branch" else None

    @classmethod
    def seeded(cls, config: GaussianConfig, data: TrainingData) -> Head:
        """A head before training: Gaussians on the tracked face, branches that do nothing yet."""
        capture, scheme = data.capture, config.landmarks if data.capture.scheme == "mediapipe478" else "ibug68"
        landmarks = capture.landmarks.to_scheme(scheme)
        neutral = capture.tracks.neutral.float()
        if scheme != capture.scheme:
            neutral = LandmarkTrack(neutral[None], capture.scheme, capture.fps).to_scheme(scheme).points[0]
        points = landmarks.points[data.train].float()
        emphasis = torch.ones(len(neutral))
        emphasis[list(range(48, 68) if scheme == "ibug68" else LIPS_OUTER + LIPS_INNER)] = 2.0
        basis = ExpressionBasis.fit(points, neutral, emphasis, config.components)
        template = TEMPLATES[config.template](points, neutral)
        low, high = head_box(capture, data.train, template)
        warp = ForwardWarp.of(Warper.around(template, config.warp_side)) if config.warp else None
        face, mouth = seed_clouds(
            capture, data.train, template, low, high, warp, config.gaussians, config.sh_degree, data.generator(0, 41)
        )
        audio = None if config.condition == "components" else AudioScale.fit(data.features)
        low, high = torch.minimum(low, face.means.amin(0)), torch.maximum(high, face.means.amax(0))
        box = torch.cat((low, (high - low).amax()[None])).detach()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(data.seed)
            return cls(config, basis, template, box, face, mouth, audio)

    @property
    def device(self) -> torch.device:
        """Where frames are posed and drawn. Landmarks, basis and the making of motions stay on the CPU."""
        return self.box.device

    def unit(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "3 N"]:
        """Head space to the box that the planes cover."""
        return ((points - self.box[:3]) / self.box[3]).clamp(0, 1).T.contiguous()

    def motion(self, points: Float[Tensor, "K 3"]) -> Motion | None:
        """How a frame's landmarks move the template; None without `warp`."""
        if self.forward_warp is None:
            return None
        made = Motion(self.forward_warp.field(points.float()), motions(points, self.template))
        return made if self.device.type == "cpu" else made.to(self.device)

    def canonical(self, fast: bool = False) -> dict[str, Tensor]:
        """All that does not depend on the frame, differentiable: `LAYER.NAME`, and `LAYER_branch.base` and `.gates`.

        Args:
            fast: Reads the planes in half precision, several times faster for many points.
        """
        found: dict[str, Tensor] = {}
        for name, cloud, branch in (
            ("face", self.face, self.face_branch),
            ("mouth", self.mouth, self.mouth_branch),
        ):
            found |= {f"{name}.{key}": value for key, value in cloud.canonical().items()}
            known = branch.known(self.unit(cloud.means.detach()), branch.grids() if fast else None)
            found |= {f"{name}_branch.base": known.base, f"{name}_branch.gates": known.gates}
        return found

    def pose(
        self,
        canonical: dict[str, Tensor],
        condition: FrameCondition,
        motion: Motion | None,
        branches: Collection[str] = BRANCHES,
    ) -> dict[str, Posed]:
        """The Gaussians of one frame, by layer.

        Args:
            canonical: From `canonical`, or leaves like it.
            condition: Of the frame.
            motion: Of the frame.
            branches: Which branches act.
        """
        told = self.code(condition) if not {"face", "mouth"}.isdisjoint(branches) else None
        emotional = "emotion" in branches and self.emotion_branch is not None and bool(condition.va.any())
        posed: dict[str, Posed] = {}
        for name, branch in (("face", self.face_branch), ("mouth", self.mouth_branch)):
            known = Known(canonical[f"{name}_branch.base"], canonical[f"{name}_branch.gates"])
            values = {key[len(name) + 1 :]: v for key, v in canonical.items() if key.startswith(f"{name}.")}
            offsets = branch.offsets(known, told) if told is not None and name in branches else None
            layer = self._posed(values, offsets, motion)
            if emotional and name == "face":
                layer = self._emotional(layer, condition.va)
            elif emotional and motion is not None:
                layer = self._with_jaw(layer, values["follow"], condition.va, motion)
            posed[name] = layer
        return posed

    def _posed(self, values: dict[str, Tensor], offsets: Tensor | None, motion: Motion | None) -> Posed:
        """One layer, moved by the landmarks and then by its branch."""
        means, stretch = values["means"], None
        if motion is not None:
            still = means.detach()
            if "follow" in values:
                moved, stretch = moved_rigidly(still, values["follow"], motion.parts)
            else:
                moved, stretch = motion.skin.read(still)
            moved = still + moved
            means = moved + (stretch @ (means - still)[..., None])[..., 0] if means.requires_grad else moved
        scales, rotations, shade = values["scales"], values["rotations"], None
        normals = None if "follow" in values else values["normals"]
        if offsets is not None:
            limits = offsets.new_tensor(LIMITS[: offsets.shape[1]])
            offsets = limits * torch.tanh(offsets / limits)
            means, scales, rotations = _displaced(means, scales, rotations, offsets)
            shade = SHADE * offsets[:, 10:] if offsets.shape[1] > 10 else None
        return Posed(means, scales, rotations, stretch, values["opacities"], values["colours"], shade, normals)

    def _felt(self, points: Float[Tensor, "N 3"], va: Float[Tensor, "2"]) -> Float[Tensor, "N 10"]:
        """What the emotion branch gives at places of the posed face; nothing at neutral, by construction."""
        branch = self.emotion_branch
        assert branch is not None
        known, told = branch.known(self.unit(points.detach())), emotion_code(va)
        return branch.offsets(known, (told,)) - branch.offsets(known, (torch.zeros_like(told),))

    def _emotional(self, layer: Posed, va: Float[Tensor, "2"]) -> Posed:
        """Adds the emotion branch at the place where a Gaussian is by now (§2.1)."""
        offsets = self._felt(layer.means, va)
        means, scales, rotations = _displaced(layer.means, layer.scales, layer.rotations, offsets)
        return replace(layer, means=means, scales=scales, rotations=rotations)

    def _with_jaw(self, layer: Posed, follow: Float[Tensor, "N 3"], va: Float[Tensor, "2"], motion: Motion) -> Posed:
        """What lies behind the lips: the jaw goes where the emotion branch takes the chin, skull and eyes stay.

        Teeth are too near to the lips for one smooth field to move one and not the other.
        """
        jaw = motion.parts[0, :, 3] / TEETH_SHARE
        chin = self.template[list(CHIN478 if len(self.template) == 478 else CHIN68)].mean(0).to(jaw) + jaw
        moved = MOVE * TEETH_SHARE * self._felt(chin[None], va)[:, :3]
        return replace(layer, means=layer.means + follow[:, :1] * moved)

    def draw(
        self,
        posed: dict[str, Posed],
        view: View,
        *,
        normals: bool = False,
        joined: bool = False,
        region: Bool[Tensor, "H W"] | None = None,
        threads: int | None = None,
    ) -> Layers:
        """Draws a frame.

        Args:
            posed: From `pose`.
            view: Its camera.
            normals: Whether to draw the face's normals too.
            joined: Whether to draw both layers at once, the mouth behind the face: the same picture for less.
            region: Which pixels are wanted; all if None.
            threads: Of the rasteriser; None for its own choice.
        """
        if joined and not normals:
            both = [posed[name] for name in LAYERS]
            means, forms, opacities, colours = (
                torch.cat(parts)
                for parts in zip(*((p.means, p.covariances(), p.opacities, p.seen(view)) for p in both), strict=True)
            )
            screen = project(means, forms, view, opacities)
            depths = screen.depths.clone()
            depths[len(both[0].means) :] += BEHIND
            screen = Screen(screen.centres, screen.conics, depths, screen.radii)
            drawn = rasterise(screen, opacities, colours, view, region, threads=threads)
            return Layers(Layer(drawn.picture, drawn.alpha, None, screen), None)
        layers = []
        for name in LAYERS:
            p = posed[name]
            screen = project(p.means, p.covariances(), view, p.opacities)
            channels = p.seen(view)
            with_normals = normals and p.normals is not None
            if with_normals:
                channels = torch.cat((channels, p.turned_normals(view.pose[:3, 3])), 1)
            drawn = rasterise(screen, p.opacities, channels, view, region, threads=threads)
            picture, extra = drawn.picture[..., :3], drawn.picture[..., 3:]
            layers.append(Layer(picture, drawn.alpha, extra if with_normals else None, screen))
        return Layers(*layers)


def _displaced(means: Tensor, scales: Tensor, rotations: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means moved by the first three offsets; scales and rotations by the next seven, if there are so many."""
    means = means + MOVE * offsets[:, :3]
    if offsets.shape[1] >= 10:
        scales = (scales * (MOVE * offsets[:, 3:6]).exp()).clamp(LEAST_SCALE, MOST_SCALE)
        rotations = rotations + MOVE * offsets[:, 6:10]
    return means, scales, rotations


def composite(layers: Layers) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W"]]:
    """Premultiplied colour and opacity of the head: the face over what lies behind it (§2.1)."""
    face, mouth = layers.face, layers.mouth
    if mouth is None:
        return face.picture, face.alpha
    through = 1 - face.alpha
    return face.picture + mouth.picture * through[..., None], face.alpha + mouth.alpha * through


__all__ = ["BRANCHES", "Head", "Layer", "Layers", "Motion", "Posed", "composite"]
