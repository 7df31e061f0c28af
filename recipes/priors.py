"""Makes the priors that ship: python recipes/priors.py [--takes N] [--steps N] [--out DIR]; `make priors` runs it.

Everything is drawn from fixed seeds. Speech is eSpeak NG's (extra `espeak`), heard clean and through random rooms and
microphones; faces are the synthetic actor's. See docs/priors.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from performances import ENCODER, feelings, takes
from torch import Tensor

from realtalk_core import checkpoint
from realtalk_core.emotion import LABELS
from realtalk_core.expression import ExpressionBasis, upper_face
from realtalk_core.landmarks import IBUG68_FROM_MEDIAPIPE478
from realtalk_core.training.data import encoder_name
from realtalk_ldm import LdmConfig
from realtalk_ldm.deformer import LdmDeformer
from realtalk_ldm.shipped import SIZES as LDM_SIZES
from realtalk_ldm.shipped import VERSION as LDM_VERSION
from realtalk_ldm.units import ActionUnits
from realtalk_vae import VaeConfig
from realtalk_vae.augment import Voice
from realtalk_vae.fitting import UPPER_WEIGHT
from realtalk_vae.generator import VaeGenerator
from realtalk_vae.hush import Hush
from realtalk_vae.prior import MOUTH_CM, mouth_width
from realtalk_vae.prior import SIZES as VAE_SIZES
from realtalk_vae.prior import VERSION as VAE_VERSION

PLUGINS = Path(__file__).resolve().parent.parent / "plugins"
COMPONENTS = 16
WINDOW = 96
SEED = 7
PAIRS = 42
"""Emotional moments of each take."""


def training_data(count: int) -> dict[str, Any]:
    """Performances of the training actors.

    Returns:
        `speech`: of each take the features of each version and the displacement from rest on a mouth of standard width;
        `mouths`: mean neutral face at that scale; `feelings`: neutral and emotional moments at standard face size.
    """
    speech, mouths, pairs = [], [], []
    for take in takes(count, SEED):
        scale = MOUTH_CM / mouth_width(take.neutral)
        speech.append({"heard": take.heard.half(), "moved": ((take.points - take.neutral) * scale).half()})
        mouths.append(take.neutral * scale)
        felt = feelings(take, PAIRS, SEED + len(speech), 0.4)
        size = ActionUnits(take.neutral).scale
        pairs.append(
            {
                "rest": (take.neutral / size)[None], "plain": (felt.plain - take.neutral) / size,
                "moves": (felt.felt - felt.plain) / size, "labels": felt.labels, "amount": felt.amount,
            }
        )  # fmt: skip
    return {
        "speech": speech, "mouths": torch.stack(mouths).mean(0),
        "feelings": {name: torch.cat([p[name] for p in pairs]) for name in pairs[0]},
    }  # fmt: skip


def vae_start(data: list[dict[str, Any]], neutral: Tensor, config: VaeConfig) -> VaeGenerator:
    """A fresh generator on the average actor's face."""
    some = torch.cat([d["moved"][::6].float() for d in data])
    weight = 1 - (1 - UPPER_WEIGHT) * upper_face(neutral)
    basis = ExpressionBasis.fit(neutral + some, neutral, weight, COMPONENTS)
    looks = torch.cat([d["heard"][:, ::4].float().flatten(0, 1) for d in data])
    rows = looks.flatten(1)
    torch.manual_seed(SEED)
    return VaeGenerator(
        config,
        {
            **basis.tensors(), "features.mean": rows.mean(0), "features.std": rows.std(0).clamp_min(0.05),
            "rest": basis.encode(neutral[None])[0], **Hush.by_spectrum(Voice.of(looks), rows).tensors(),
        },
    )  # fmt: skip


def vae_batches(made: VaeGenerator, data: list[dict[str, Any]]) -> Any:
    """Function of the step that gives its batch."""
    neutral = made.basis.neutral
    motion = [made.basis.encode(neutral + d["moved"].float()) for d in data]
    voice = Voice.of(torch.cat([d["heard"][:, ::4].float().flatten(0, 1) for d in data]))
    config = made.config
    long = [k for k, m in enumerate(motion) if len(m) > WINDOW]

    def batch(step: int) -> Mapping[str, Tensor]:
        random = torch.Generator().manual_seed(SEED * 1_000_003 + step)

        def whole(below: int) -> int:
            return int(torch.randint(below, (1,), generator=random))

        sound, moves = [], []
        for _ in range(config.batch):
            k = long[whole(len(long))]
            first = whole(len(motion[k]) - WINDOW + 1)
            heard = data[k]["heard"]
            sound.append(heard[whole(len(heard)), first : first + WINDOW].float())
            moves.append(motion[k][first : first + WINDOW])
        heard = torch.stack(sound)
        if config.augment:
            heard = voice.disguised(heard, config.augment, random)
        return {
            "sound": ((heard.flatten(2) - made.ear.mean) / made.ear.std).transpose(1, 2),
            "motion": torch.stack(moves).transpose(1, 2),
            "known": torch.ones(config.batch, 1, WINDOW),
            "posterior_noise": torch.randn(config.batch, config.latent, WINDOW // 4, generator=random),
            "prior_noise": torch.randn(config.batch, config.latent, WINDOW // 4, generator=random) * config.temperature,
        }

    return batch


def train(made: Any, batch: Any, steps: int) -> dict[str, float]:
    """The core's loop without its files."""
    (optimizer,) = made.optimizers()
    began, losses = time.monotonic(), {}
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad(set_to_none=True)
        losses = made.training_step(batch(step), step)
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], made.gradient_clip)
        optimizer.step()
        made.after_step(step)
        if step % 200 == 0 or step == steps - 1:
            parts = " ".join(f"{name} {float(value.detach()):.4f}" for name, value in losses.items())
            print(f"step {step:6d} {time.monotonic() - began:6.0f} s  {parts}", flush=True)
    return {name: round(float(value.detach()), 5) for name, value in losses.items()}


def ldm_start(pairs: Mapping[str, Tensor], config: LdmConfig) -> LdmDeformer:
    """A fresh deformer on the average actor's face."""
    rest = pairs["rest"].mean(0)
    labels, moves, amount = pairs["labels"], pairs["moves"], pairs["amount"][:, None, None]
    centre = torch.zeros(len(LABELS), *rest.shape)
    for k in labels.unique().tolist():
        mine = labels == k
        centre[k] = (moves[mine] * amount[mine]).sum(0) / amount[mine].square().sum()
    away = (moves - centre[labels] * amount)[:4096].flatten(1)
    _, sigma, rows = torch.linalg.svd(away, full_matrices=False)
    rows = rows[: config.components] * (sigma[: config.components, None] / len(away) ** 0.5).clamp_min(1e-4)
    torch.manual_seed(SEED)
    return LdmDeformer(
        config,
        {
            "faces.mean": (rest + pairs["plain"].mean(0))[list(IBUG68_FROM_MEDIAPIPE478)],
            "faces.std": torch.full((3,), 0.2),
            "components": rows.reshape(-1, *rest.shape).contiguous(), "centre": centre,
            "lips.full": torch.zeros(1), "lips.follow": torch.zeros(len(rest), 1),
        },
    )  # fmt: skip


def ldm_batches(pairs: Mapping[str, Tensor], config: LdmConfig) -> Any:
    """Function of the step that gives its batch."""
    faces = pairs["rest"].mean(0) + pairs["plain"]

    def batch(step: int) -> Mapping[str, Tensor]:
        random = torch.Generator().manual_seed(SEED * 2_000_003 + step)
        some = torch.randint(len(faces), (config.batch,), generator=random)
        return {"faces": faces[some], **{name: pairs[name][some] for name in ("labels", "moves", "amount")}}

    return batch


def save(
    path: Path,
    component: str,
    version: int,
    made: Any,
    names: Sequence[str],
    tensors: Mapping[str, Tensor],
    **metrics: Any,
) -> None:
    """Writes a prior in half precision."""
    header = checkpoint.Header(
        "prior", component, version, {name: getattr(made.config, name) for name in names}, component, metrics=metrics
    )
    checkpoint.save(path, header, {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()})
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--takes", type=int, default=600)
    parser.add_argument("--vae-steps", type=int, default=2600)
    parser.add_argument("--ldm-steps", type=int, default=1500)
    parser.add_argument("--data", type=Path, help="keep the training data in this file, and take it from there")
    parser.add_argument(
        "--out", type=Path, help="folder for vae.safetensors and ldm.safetensors; else into the plugins"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    if args.data and args.data.is_file():
        data = torch.load(args.data)
    else:
        data = training_data(args.takes)
        if args.data:
            torch.save(data, args.data)
    targets = {
        name: args.out / f"{name}.safetensors" if args.out else PLUGINS / f"realtalk_{name}" / "prior.safetensors"
        for name in ("vae", "ldm")
    }
    if args.vae_steps:
        vae = VaeConfig(
            prior="none",
            steps=args.vae_steps,
            batch=16,
            dropout=0.15,
            augment=1.4,
            learning_rate=2e-3,
            weight_decay=0.01,
        )
        generator = vae_start(data["speech"], data["mouths"], vae)
        generator._begin(1.0)
        last = train(generator, vae_batches(generator, data["speech"]), args.vae_steps)
        kept = {k: v for k, v in generator.state().items() if not k.startswith("hush.")}
        save(
            targets["vae"], "vae", VAE_VERSION, generator, VAE_SIZES, kept,
            encoder=encoder_name("mel", ENCODER), takes=args.takes, steps=args.vae_steps, **last,
        )  # fmt: skip
    if args.ldm_steps:
        ldm = LdmConfig(prior="units", steps=args.ldm_steps, batch=128)
        deformer = ldm_start(data["feelings"], ldm)
        deformer._begin()
        last = train(deformer, ldm_batches(data["feelings"], ldm), args.ldm_steps)
        kept = {k: v for k, v in deformer.state().items() if not k.startswith("lips.")}
        kept["neutral"] = data["feelings"]["rest"].mean(0)[list(IBUG68_FROM_MEDIAPIPE478)]
        save(
            targets["ldm"],
            "ldm",
            LDM_VERSION,
            deformer,
            LDM_SIZES,
            kept,
            takes=args.takes,
            steps=args.ldm_steps,
            **last,
        )


if __name__ == "__main__":
    main()
