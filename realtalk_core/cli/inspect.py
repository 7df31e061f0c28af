"""`realtalk inspect`: what a file or folder of RealTalk's is, and what an avatar's renderer listens to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from realtalk_core.cli.common import DeviceOption, JsonOption, installed, say, say_json, table
from realtalk_core.errors import UserError


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command(short_help="What a capture, avatar, checkpoint or video is.")
    def inspect(
        path: Annotated[Path, typer.Argument(help="A capture, an avatar, a checkpoint or a video.")],
        attention: Annotated[
            Path | None,
            typer.Option(
                help="Of an avatar: write heat maps of which region listens to which condition into this new folder.",
                metavar="DIR",
            ),
        ] = None,
        frames: Annotated[
            int | None, typer.Option(help="With --attention: how many frames; default 4.", min=1, max=100)
        ] = None,
        device: DeviceOption = "auto",
        as_json: JsonOption = False,
    ) -> None:
        """Says what a capture, avatar, checkpoint or video is and what it holds; --attention shows what listens where.

        With --attention, `groups_FRAME.png` and `parts_FRAME.png` show a rendered frame beside its maps, and
        `regions.csv` holds their mean over mouth, eyes, brows, nose, cheeks and chin, forehead, and the rest.
        """
        facts = describe(path)
        if attention is not None:
            _attention(path, facts["kind"], attention, 4 if frames is None else frames, device, as_json)
            return
        for option, given in (("--frames", frames is not None), ("--device", device != "auto")):
            if given:
                raise UserError(
                    f"{option} has no effect without --attention", f"Add --attention DIR, or drop {option}."
                )
        if as_json:
            say_json(facts)
        else:
            _show(facts)


def _attention(path: Path, kind: str, folder: Path, frames: int, device: str, as_json: bool) -> None:
    if kind != "avatar":
        raise UserError(f"--attention: {path} is a {kind}, not an avatar", "Name an avatar's folder.")
    from realtalk_core.attention import REGIONS, attention_of, check_folder, write_attention
    from realtalk_core.avatar import Avatar

    check_folder(folder)
    found = attention_of(Avatar.open(path, installed()), frames, device=device)
    files, means = write_attention(found, folder), found.table()
    if as_json:
        say_json({"files": [str(file) for file in files], "regions": means})
        return
    shown = [region for region in REGIONS if any(region in row for row in means.values())]
    say(f"{folder}: {len(files)} files; mean of each map over {len(found.frames)} frames")
    rows = [
        [name, *(f"{row[region]:.4g}" if region in row else "-" for region in shown)] for name, row in means.items()
    ]
    table([["", *shown], *rows], "  ")


def describe(path: Path) -> dict[str, Any]:
    """The facts of a file or folder, as plain data; `kind` says which.

    Raises:
        UserError: if it is nothing RealTalk knows.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist", "Check the path.")
    if path.is_dir():
        for name, kind in (("capture.yaml", "capture"), ("avatar.yaml", "avatar")):
            if (path / name).is_file():
                facts: dict[str, Any] = {"kind": kind, "path": str(path), "megabytes": _megabytes(path)}
                meta = _yaml(path / name)
                if kind == "avatar":
                    facts |= {"renderer": _renderer(path, meta), "hears": _hears(path, meta)}
                return {**facts, **meta, **_inside(path, kind)}
        raise UserError(
            f"{path} is neither a capture nor an avatar", "A capture has a capture.yaml, an avatar an avatar.yaml."
        )
    if path.suffix == ".safetensors":
        from realtalk_core.checkpoint import read_header, tensor_table

        tensors = {name: f"{kind} {list(shape)}" for name, (kind, shape) in tensor_table(path).items()}
        facts = {"kind": "checkpoint", "path": str(path), "megabytes": _megabytes(path)}
        return {**facts, **_about(path), **asdict(read_header(path)), "tensors": tensors}
    return _video(path)


def _renderer(path: Path, meta: dict[str, Any]) -> dict[str, Any]:
    """Which renderer an avatar has, and what its weights hold."""
    from realtalk_core.checkpoint import read_header

    try:
        named = str(meta["config"]["pipeline"]["renderer"]["use"]).rpartition(":")[2]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path / 'avatar.yaml'} is damaged: it names no renderer", "Train the avatar again."
        ) from error
    file = path / "renderer.safetensors"
    if not file.is_file():
        return {"component": named, "trained": "no weights"}
    header = read_header(file)
    facts: dict[str, Any] = {"component": header.component}
    if header.component != named:
        facts["trained"] = f"not {named}, which avatar.yaml names: its training has saved nothing yet"
    elif "step" in header.metrics:
        facts["trained"] = f"{header.metrics['step']} of {header.metrics.get('total', '?')} steps"
    return {**facts, "megabytes": _megabytes(file), **_about(file)}


def _hears(path: Path, meta: dict[str, Any]) -> dict[str, Any]:
    """The audio encoder of an avatar, and the one that each stage that listens has learnt from."""
    from realtalk_core.avatar import Avatar
    from realtalk_core.encoders import own_encoder

    plugins = installed()
    facts: dict[str, Any] = {"encoder": own_encoder(meta, plugins)}
    try:
        return {**facts, "learnt_from": dict(Avatar.read(path, plugins).learnt_from)}
    except UserError as error:  # a component is not installed: what can be said without it
        return {**facts, "learnt_from": error.message}


def _about(file: Path) -> dict[str, Any]:
    """What its component says of a checkpoint; nothing if it is not installed, or of another version."""
    from pydantic import ValidationError

    from realtalk_core.checkpoint import read_header, tensor_table

    header = read_header(file)
    spec = next((s for s in installed().specs if (s.stage, s.name) == (header.stage, header.component)), None)
    if spec is None or spec.about is None or spec.version != header.version:
        return {}
    try:
        config = spec.config.model_validate(dict(header.config))
    except ValidationError:  # parameters that have gone since
        return {}
    shapes = {name: shape for name, (_, shape) in tensor_table(file).items()}
    return dict(spec.about(config, shapes, header.metrics))


def _yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is damaged: {error}", "Make it again, or copy it again from where it came.") from error
    if not isinstance(data, dict):
        raise UserError(
            f"{file} is damaged: it holds no mapping", "Make it again, or copy it again from where it came."
        )
    return data


def _inside(path: Path, kind: str) -> dict[str, Any]:
    if kind == "capture":
        from realtalk_core.hearing.cache import kept_features

        return {"features": kept} if (kept := kept_features(path)) else {}
    from realtalk_core.checkpoint import read_header

    parts = {}
    for file in sorted(path.glob("*.safetensors")):
        header = read_header(file)
        parts[file.name] = {
            "stage": header.stage, "component": header.component, "plugin": header.plugin, "version": header.version,
            "created": header.created, "megabytes": _megabytes(file), "metrics": header.metrics,
        }  # fmt: skip
    pictures = {file.name: _megabytes(file) for file in sorted(path.iterdir()) if file.suffix in (".mp4", ".png")}
    return {"pictures_megabytes": pictures, "checkpoints": parts}


def _megabytes(path: Path) -> float:
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return round(sum(f.stat().st_size for f in files) / 1e6, 2)


def _video(path: Path) -> dict[str, Any]:
    import av

    try:
        with av.open(str(path)) as container:
            streams = [f"{s.type} {s.codec_context.name}" for s in container.streams if s.codec_context]
            seconds = container.duration / 1e6 if container.duration else None
            return {
                "kind": "media", "path": str(path), "megabytes": _megabytes(path), "format": container.format.name,
                "seconds": seconds, "streams": streams, "metadata": dict(container.metadata),
            }  # fmt: skip
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is no capture, avatar, checkpoint or playable video: {error}", "Name one of these."
        ) from error


def _show(facts: dict[str, Any], indent: str = "") -> None:
    for key, value in facts.items():
        if isinstance(value, dict):
            say(f"{indent}{key}:")
            _show(value, indent + "  ")
        elif isinstance(value, list) and value and not isinstance(value[0], int | float):
            say(f"{indent}{key}:")
            for item in value:
                line = ", ".join(f"{k} {v}" for k, v in item.items()) if isinstance(item, dict) else item
                say(f"{indent}  - {line}")
        elif not (isinstance(value, str) and not value):
            say(f"{indent}{key}: {value}")
