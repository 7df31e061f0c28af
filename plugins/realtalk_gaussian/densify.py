"""Where Gaussians are added, moved and taken away while a cloud is learnt: gsplat's two strategies, in plain torch.

`default` is 3DGS's adaptive density control (Kerbl et al. 2023, §5): where the picture pulls hard at a Gaussian's
centre, a small one is cloned and a large one split in two; the faded and the overgrown are pruned. `mcmc` is
3DGS-MCMC (Kheradmand et al. 2024): the faded are moved onto living ones, the number grows by a twentieth at a time up
to the cap, and faint Gaussians wander. Both decide and compute what gsplat 1.5's `DefaultStrategy` and `MCMCStrategy`
do (tests/plugins/test_gaussian_densify.py holds them against each other); ADR 0094 lists where they differ on purpose.

A cloud is what `surgery` calls one, with `means` N 3, `scales` N 3 (logarithms), `rotations` N 4 (w x y z) and
`opacities` N (logits) among its parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor, nn

from realtalk_core.errors import ShapeError
from realtalk_core.nn.splat_projection import rotation_matrices
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.surgery import Change, Rows, moments

Strategy = Literal["default", "mcmc", "none"]
SHRINK = 1.6
"""By how much the halves of a split Gaussian are smaller than it (3DGS)."""
GROWTH = 1.05
"""By how much `mcmc` lets the number grow at a time."""
MOST_COPIES = 51
"""Most Gaussians that the relocation formula makes of one."""
TOO_BIG = 3.0
"""A Gaussian this many times `grow_radius` on screen is pruned."""


@dataclass(frozen=True, slots=True)
class Densification:
    """How a cloud is densified, in steps and centimetres.

    Attributes:
        strategy: `default`, `mcmc`, or `none` for a cloud that stays as it was seeded.
        cap: Most Gaussians; growth stops there.
        first: Step that counts as the zeroth.
        start: Nothing is added or pruned up to this step (counted from `first`).
        stop: Nor from this one on.
        every: Steps between refinements.
        grow_gradient: Mean norm of the loss's gradient by a centre, the picture reaching from -1 to 1, above which it
            is cloned or split; for a loss that is a mean over the whole picture.
        grow_scale: Largest standard deviation in cm up to which it is cloned rather than split.
        prune_scale: Standard deviation in cm beyond which it is pruned.
        grow_radius: Radius as a share of the picture's longer side beyond which it is split, and beyond three times
            which it is pruned; 0 for neither.
        prune_opacity: Opacity below which it is pruned (`default`) or moved (`mcmc`).
        reset_every: Steps between resets of all opacities to at most twice `prune_opacity`; 0 for none (`default`).
        noise: Factor of the noise on the means, times their learning rate and their covariance in cm² (`mcmc`).
    """

    strategy: Strategy
    cap: int
    first: int = 0
    start: int = 500
    stop: int = 15_000
    every: int = 100
    grow_gradient: float = 2e-4
    grow_scale: float = 0.01
    prune_scale: float = 0.1
    grow_radius: float = 0.0
    prune_opacity: float = 0.005
    reset_every: int = 0
    noise: float = 5e5

    @classmethod
    def of(cls, config: GaussianConfig, *, first: int, steps: int, scale: float, cap: int) -> Self:
        """What a configuration means for one training.

        Args:
            config: The component's parameters.
            first: First step that densifies.
            steps: How many do.
            scale: What counts as 1 in the thresholds of scales: half the head's extent in cm.
            cap: Most Gaussians of this cloud.
        """
        return cls(
            strategy=config.strategy,
            cap=cap,
            first=first,
            start=int(config.densify_from * steps),
            stop=math.ceil(config.densify_until * steps),
            every=config.densify_every,
            grow_gradient=config.grow_gradient,
            grow_scale=config.grow_scale * scale,
            prune_scale=config.prune_scale * scale,
            grow_radius=config.grow_radius,
            prune_opacity=config.prune_opacity,
            reset_every=config.opacity_reset_every,
            noise=config.noise / scale**2,  # covariance and learning rate both grow with the scale
        )


class Densifier:
    """Watches a cloud while it is learnt, and densifies it.

    Args:
        options: How.
        count: How many Gaussians the cloud has now.
    """

    def __init__(self, options: Densification, count: int) -> None:
        self.options = options
        self._clear(count)

    def _clear(self, count: int) -> None:
        self._pull, self._seen, self._radii = (torch.zeros(count) for _ in range(3))

    def record(self, gradient: Tensor, radii: Tensor, width: int, height: int, frames: float = 1.0) -> None:
        """Takes note of one frame after its backward pass; always in the same order of frames.

        Args:
            gradient: `N 2`, the loss's gradient by the Gaussians' centres in pixels.
            radii: `N` pixels; 0 for those not drawn.
            width: Of the picture, in pixels.
            height: Of the picture, in pixels.
            frames: How many pictures the loss is a mean over; a fraction for a loss over a part of one.

        Raises:
            ShapeError: if there are more or fewer Gaussians than this cloud has.
        """
        if self.options.strategy != "default":
            return
        if len(gradient) != len(self._pull) or len(radii) != len(self._pull):
            raise ShapeError(f"densification: gradients of {len(gradient)} Gaussians for a cloud of {len(self._pull)}")
        drawn = (radii > 0).cpu()
        half = torch.tensor([width / 2, height / 2]) * frames
        self._pull += torch.where(drawn, (gradient.detach().cpu() * half).norm(dim=1), 0.0)
        self._seen += drawn
        self._radii = self._radii.maximum(radii.cpu() / max(width, height))

    def update(
        self, cloud: nn.Module, optimizer: torch.optim.Optimizer, step: int, generator: torch.Generator
    ) -> Change | None:
        """Refines the cloud if it is time to; to be called after every optimizer step.

        A cloud all of whose Gaussians have faded is left as it is: there is nothing to move them onto.

        Args:
            cloud: The cloud; see the module.
            optimizer: An Adam that holds all of its parameters; moments of new and moved Gaussians begin at zero.
            step: Number of this step.
            generator: Source of all randomness, on the CPU: a function of seed and step.

        Returns:
            What became of the rows; None if they are still the same Gaussians (noise and resets do not count).

        Raises:
            ShapeError: if the cloud has another number of Gaussians than this has watched.
        """
        options, step = self.options, step - self.options.first
        count = len(cloud.get_parameter("means"))
        if count != len(self._pull):
            raise ShapeError(f"densification: {len(self._pull)} Gaussians were watched, the cloud has {count}")
        if options.strategy == "none" or step < 0:
            return None
        change = None
        with torch.no_grad():
            if options.start < step < options.stop and step % options.every == 0:
                change = self._refine(cloud, optimizer, step, generator)
                self._clear(len(cloud.get_parameter("means")))
            if options.strategy == "mcmc":
                self._wander(cloud, optimizer, generator)
            elif options.reset_every and 0 < step < options.stop and step % options.reset_every == 0:
                self._reset_opacities(cloud, optimizer)
        return change

    def state(self) -> dict[str, Tensor]:
        """What has been recorded since the last refinement."""
        return {"pull": self._pull, "seen": self._seen, "radii": self._radii}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts `state` back; the number of Gaussians follows from it."""
        self._pull, self._seen, self._radii = (tensors[name].clone() for name in ("pull", "seen", "radii"))

    def _refine(
        self, cloud: nn.Module, optimizer: torch.optim.Optimizer, step: int, generator: torch.Generator
    ) -> Change | None:
        rows = Rows(cloud)
        if self.options.strategy == "mcmc":
            self._relocate(rows, generator)
            self._add(rows, generator)
        else:
            self._grow(rows, generator)
            self._prune(rows, step)
        return rows.write(optimizer)

    def _grow(self, rows: Rows, generator: torch.Generator) -> None:
        """Clones the small and splits the large of those that the picture pulls at; the hardest pulled first."""
        options = self.options
        pull = (self._pull / self._seen.clamp(min=1)).to(rows.device)
        small = rows["scales"].exp().amax(1) <= options.grow_scale
        wanted = pull > options.grow_gradient
        clone, split = wanted & small, wanted & ~small
        if options.grow_radius:
            split |= (self._radii > options.grow_radius).to(rows.device)
        chosen = clone | split
        room = max(0, options.cap - len(pull))
        if int(chosen.sum()) > room:
            order = torch.where(chosen, pull, -1.0).argsort(descending=True, stable=True)
            chosen = torch.zeros_like(chosen).index_fill_(0, order[:room], True)
        copies = (clone & ~split & chosen).nonzero().flatten()
        halved = (split & chosen).nonzero().flatten()
        both = torch.cat((halved, halved))
        scales = rows["scales"][halved].exp()
        turn = rotation_matrices(rows["rotations"][halved])
        drawn = torch.randn(2, len(halved), 3, generator=generator).to(rows.device)
        offsets = torch.einsum("nij,nj,bnj->bni", turn, scales, drawn).flatten(0, 1)
        rest = torch.ones_like(chosen).index_fill_(0, halved, False).nonzero().flatten()
        old, new = len(rest), len(copies) + len(both)
        rows.take(torch.cat((rest, copies, both)), torch.arange(old + new, device=rows.device) >= old)
        halves = slice(old + len(copies), None)
        rows["means"][halves] += offsets
        rows["scales"][halves] = (scales / SHRINK).log().repeat(2, 1)

    def _prune(self, rows: Rows, step: int) -> None:
        options = self.options
        gone = rows["opacities"].sigmoid() < options.prune_opacity
        if step > options.reset_every:
            gone |= rows["scales"].exp().amax(1) > options.prune_scale
            if options.grow_radius:
                gone |= (self._radii > TOO_BIG * options.grow_radius).to(rows.device)[rows.source]
        if not gone.all():
            rows.take((~gone).nonzero().flatten())

    def _relocate(self, rows: Rows, generator: torch.Generator) -> None:
        """Moves the faded onto the living, drawn by opacity."""
        opacities = rows["opacities"].sigmoid()
        dead = opacities <= self.options.prune_opacity
        living = (~dead).nonzero().flatten()
        number = int(dead.sum())
        if not number or not len(living):
            return
        drawn = torch.multinomial(opacities[living].cpu(), number, replacement=True, generator=generator)
        sampled = living[drawn.to(rows.device)]
        self._share(rows, sampled)
        source = torch.arange(len(dead), device=rows.device)
        source[dead] = sampled
        rows.take(source, dead)

    def _add(self, rows: Rows, generator: torch.Generator) -> None:
        """Copies Gaussians drawn by opacity, a twentieth more than there are."""
        opacities = rows["opacities"].sigmoid()
        count = len(opacities)
        number = max(0, min(self.options.cap, int(GROWTH * count)) - count)
        if not number:
            return
        sampled = torch.multinomial(opacities.cpu(), number, replacement=True, generator=generator).to(rows.device)
        self._share(rows, sampled)
        every = torch.arange(count, device=rows.device)
        rows.take(torch.cat((every, sampled)), torch.arange(count + number, device=rows.device) >= count)

    def _share(self, rows: Rows, sampled: Tensor) -> None:
        """Gives each sampled Gaussian the opacity and size at which it and its copies look as it did alone."""
        copies = torch.bincount(sampled, minlength=len(rows["opacities"]))[sampled] + 1
        opacities, scales = relocated(rows["opacities"][sampled].sigmoid(), rows["scales"][sampled].exp(), copies)
        most = 1 - torch.finfo(torch.float32).eps
        rows["opacities"][sampled] = opacities.clamp(self.options.prune_opacity, most).logit()
        rows["scales"][sampled] = scales.log()
        rows.fresh[sampled] = True

    def _wander(self, cloud: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> None:
        """Noise on the means, shaped like each Gaussian; next to none where it is opaque."""
        means, opacities = cloud.get_parameter("means"), cloud.get_parameter("opacities").sigmoid()
        rate = next(group["lr"] for group in optimizer.param_groups if any(p is means for p in group["params"]))
        faint = torch.sigmoid(100 * ((1 - opacities) - 0.995))
        noise = torch.randn(means.shape, generator=generator).to(means) * faint[:, None] * (rate * self.options.noise)
        turned = rotation_matrices(cloud.get_parameter("rotations")) * cloud.get_parameter("scales").exp()[:, None]
        means.add_(torch.einsum("nij,nkj,nk->ni", turned, turned, noise))

    def _reset_opacities(self, cloud: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        opacities, most = cloud.get_parameter("opacities"), 2 * self.options.prune_opacity
        opacities.clamp_(max=math.log(most / (1 - most)))
        for moment in moments(optimizer, opacities).values():
            moment.zero_()


def relocated(opacities: Tensor, scales: Tensor, copies: Tensor) -> tuple[Tensor, Tensor]:
    """Opacities and scales at which several Gaussians in one place look as one did (3DGS-MCMC, equation 9).

    Args:
        opacities: `N` in (0, 1), of the one.
        scales: `N 3`, of the one.
        copies: `N`, how many there are to be; at most 51 count.

    Returns:
        Opacities `N` and scales `N 3` of each copy.

    >>> opacity, scale = relocated(torch.tensor([0.75]), torch.ones(1, 3), torch.tensor([2]))
    >>> [round(float(x), 4) for x in (opacity, scale[0, 0])]
    [0.5, 0.9111]
    """
    number = copies.clamp(1, MOST_COPIES)
    alone = opacities.double()
    each = 1 - (1 - alone) ** (1 / number)
    # The paper's double sum over i and k is one sum: the i of C(i - 1, k) add up to C(n, k + 1).
    power = torch.arange(1, MOST_COPIES + 1, dtype=torch.float64, device=opacities.device)
    terms = _signed_choices().to(opacities.device)[number] * each[:, None] ** power
    factor = alone / terms.sum(1)
    return each.to(opacities.dtype), (factor[:, None] * scales).to(scales.dtype)


def _signed_choices() -> Tensor:
    """(-1)^(k-1) C(n, k) / √k for n = 0..51 and k = 1..51."""
    span = range(1, MOST_COPIES + 1)
    rows = [[-((-1) ** k) * math.comb(n, k) / math.sqrt(k) for k in span] for n in range(MOST_COPIES + 1)]
    return torch.tensor(rows, dtype=torch.float64)
