"""What each part of a renderer brings: the papers' ablations, by configuration alone.

    python benchmarks/ablations.py CAPTURE WORK [--renderer NAME] [--steps 1300] [--only NAME...] [--size S]

For `triplane_nerf` those of RealTalk's Table 3, and `silent_gates`: gates pressed to zero where no condition is needed
(see `static_tolerance`). For `gaussian` the parts it is made of, `with_normals` (EmoTalkingGaussian's losses of them)
and `by_sound` (the papers' condition in place of landmarks).
Trains each variant on the first 80 % of a capture with the same seed and number of steps, and measures it on the rest
as `self_reconstruction.py` does. Results are written to `WORK/NAME.json` one by one: what is there is not done again,
and an interrupted training goes on, so the table can be made piece by piece. Prints the table of all that are there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from self_reconstruction import HeldOut, heard, load_renderer, measure, rendered

from realtalk_core import checkpoint
from realtalk_core.build import build
from realtalk_core.capture import Capture
from realtalk_core.cli.common import configuration, installed
from realtalk_core.training.data import TrainingData
from realtalk_core.training.loop import LoopOptions, StageFiles, StageTraining
from realtalk_core.training.session import split_frames
from realtalk_core.types import AudioFeatures

NORMALS = "{normals: 0.05, normals_tv: 0.005, normals_residual: 0.001}"
VARIANTS: dict[str, dict[str, list[str]]] = {
    "triplane_nerf": {
        "full": [],
        "no_attention": ["renderer.attention=false"],
        "no_triplane": ["renderer.grid=volume"],
        "no_blendshapes": ["renderer.blendshapes=none"],
        "no_warp": ["renderer.warp=false"],
        "silent_gates": ["renderer.gate_fade=0.4", "renderer.gate_sparsity=0.05"],
    },
    "gaussian": {
        "full": [],
        "no_attention": ["renderer.attention=false"],
        "no_warp": ["renderer.warp=false"],
        "no_blendshapes": ["renderer.blendshapes=none"],
        "no_shade": ["renderer.shade=false"],
        "no_growth": ["renderer.strategy=none"],
        "with_normals": [f"renderer.losses={{canonical: {NORMALS}, motion: {NORMALS}}}"],
        "by_sound": ["renderer.condition=audio"],
    },
}
"""For each renderer, its variants: what is set beside the steps."""
COLUMNS = {
    "PSNR": "face PSNR", "SSIM": "face SSIM", "mouth PSNR": "mouth PSNR", "eyes PSNR": "eyes PSNR",
    "over white": "head PSNR over white", "LMD": "face LMD px", "mouth LMD": "mouth LMD px",
    "sharpness": "face sharpness", "mouth slope": "mouth slope", "mouth r": "mouth r", "lids slope": "lids slope",
    "lids r": "lids r", "s/step": "seconds per step",
}  # fmt: skip


def train_renderer(
    capture: Capture, features: AudioFeatures, folder: Path, sets: list[str], seed: int = 0, split: float = 0.8
) -> Path:
    """Trains the renderer alone into `folder` (goes on if it was interrupted) and returns its checkpoint."""
    config = configuration(None, None, sets, installed())
    chosen = config.stages["renderer"]
    train, held_out = split_frames(capture, split)
    data = TrainingData(capture, features, train, held_out, seed)
    files = StageFiles(folder, "renderer")
    quiet = LoopOptions(previews=0)
    training = StageTraining(chosen.spec, chosen.config, data, f"{capture.path.name}-{split}-{seed}", files, quiet)
    if not training.finished():
        training.run(build(chosen.spec, chosen.config, data=data), resume=True)
    return files.checkpoint


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    columns = {title: key for title, key in COLUMNS.items() if any(key in r for r in results.values())}
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, result in results.items():
        cells = " | ".join(f"{result[key]:g}" if key in result else "" for key in columns.values())
        lines.append(f"| {name.replace('_', ' ')} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--renderer", choices=list(VARIANTS), default="triplane_nerf")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the variants; all by default")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="for all variants")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--every", type=int, default=2, help="measure on every N-th held-out frame")
    options = parser.parse_args()
    variants = VARIANTS[options.renderer]
    unknown = sorted(set(options.only or ()) - variants.keys())
    if unknown:
        parser.error(f"--only {' '.join(unknown)}: {options.renderer} has {', '.join(variants)}")
    capture = Capture.open(options.capture)
    features = heard(capture, installed())
    held = HeldOut.of(capture, features, every=options.every, size=options.size)
    options.work.mkdir(parents=True, exist_ok=True)
    common = [f"renderer={options.renderer}", f"renderer.steps={options.steps}", f"renderer.size={options.size}"]
    for name in options.only or variants:
        file = options.work / f"{name}.json"
        sets = [*common, *options.sets, *variants[name]]
        if file.is_file():
            done = json.loads(file.read_text("utf-8"))["sets"]
            if done != sets:
                parser.error(f"{file} was made with {' '.join(done)}, not {' '.join(sets)}: name another folder")
        else:
            trained = train_renderer(capture, features, options.work / name, sets)
            metrics = checkpoint.read_header(trained).metrics
            result = measure(rendered(load_renderer(trained, installed()), held), held)
            result["seconds per step"] = round(metrics["seconds"] / metrics["step"], 3)
            file.write_text(json.dumps({"sets": sets, **result}, indent=1), "utf-8")
    files = {name: options.work / f"{name}.json" for name in variants}
    print(table({name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.is_file()}))


if __name__ == "__main__":
    from script import run

    run(main)
