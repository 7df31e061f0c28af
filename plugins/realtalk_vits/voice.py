"""Text to speech by VITS; the times of phonemes are the durations that the model predicts for its own tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from realtalk_core.build import PluginBugError
from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_core.types import AudioClip
from realtalk_core.voice import Phoneme, Speech, VoiceName, join
from realtalk_vits.letters import sounds
from realtalk_vits.model import loaded, located

if TYPE_CHECKING:
    from realtalk_vits import VitsConfig

LONGEST_PIECE = 300
"""Characters spoken at once: the model's memory grows with the square of them."""
PAUSE_SECONDS = 0.25
"""Silence between sentences."""
BREATH_SECONDS = 0.12
"""A blank between words that lasts as long as this is a pause; a shorter one belongs to the sounds beside it."""
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n")
_SPOKEN_SIGNS = "%&@#*/\\§‰"
"""Punctuation to Unicode, but words to a reader: leaving it out would change what is said."""
_STRESS, _LENGTH = "ˈˌ'", "ːˑ"
_APOSTROPHES = str.maketrans("’‘ʼ", "'''")


class VitsVoice:
    """A VITS model that speaks."""

    def __init__(self, config: VitsConfig) -> None:
        self.config = config
        folder = located(config)
        self._model, self._tokenizer = loaded(folder)
        self._name = folder.name if config.model is None else config.model
        speakers = self._model.config.num_speakers
        if config.voice >= max(1, speakers):
            raise UserError(
                f"voice.voice: {config.voice} is no speaker of the VITS model {self._name}",
                f"It has {speakers} speakers, numbered from 0: realtalk voices lists them."
                if speakers > 1
                else "It has one speaker: leave the voice out.",
            )
        self._model.speaking_rate *= config.speaking_rate
        for name in ("noise_scale", "noise_scale_duration"):
            if getattr(config, name) is not None:
                setattr(self._model, name, getattr(config, name))

    def voices(self) -> Sequence[VoiceName]:
        """The speakers of the model."""
        language = self._tokenizer.language or "language unknown"
        return [VoiceName(str(k), f"speaker {k} ({language})") for k in range(max(1, self._model.config.num_speakers))]

    def speak(self, text: str) -> Speech:
        """Speaks a text.

        Raises:
            UserError: if it has letters, digits or signs that the model does not know, or nothing to speak.
        """
        written = self._written(text)
        parts = [speech for piece in _pieces(written) if (speech := self._piece(piece)) is not None]
        if not parts:
            raise UserError(
                f"the VITS model {self._name} can speak nothing of {text[:40]!r}",
                "Write words in the language of the model.",
            )
        return join(parts, PAUSE_SECONDS)

    def _written(self, text: str) -> str:
        """The text in letters that the model knows.

        Its tokenizer leaves out whatever it does not know, without a word; here that is refused.
        """
        known = set(self._tokenizer.get_vocab())
        out = []
        for sign in text if "’" in known else text.translate(_APOSTROPHES):
            base = unicodedata.normalize("NFD", sign)[0]
            kind = unicodedata.category(sign)
            if {sign, sign.lower()} & known or sign.isspace() or self._reads(sign):
                out.append(sign)
            elif base != sign and {base, base.lower()} & known:
                out.append(base)  # an accent that the language does not have
            elif kind[0] in "PZ" and sign not in _SPOKEN_SIGNS:
                out.append(" " if kind in ("Pd", "Ps", "Pe", "Pi", "Pf") else sign)
            elif kind not in ("Cf", "Mn", "Mc"):
                cure = f"Choose a model of the text's language; this one knows {self._letters(known)}"
                raise UserError(
                    f"the VITS model {self._name} cannot speak {sign!r}",
                    cure if sign.isalpha() else "Write numbers and signs as words.",
                )
        return "".join(out)

    def _letters(self, known: set[str]) -> str:
        """Which letters it can be given, for a message."""
        if self._tokenizer.phonemize:
            return "English in Latin letters"
        letters = "".join(sorted(sign for sign in known if len(sign) == 1 and sign.isalpha()))
        return letters[:60] + ("…" if len(letters) > 60 else "")

    def _reads(self, sign: str) -> bool:
        """Whether a converter before the model reads a sign that the model itself does not know."""
        if self._tokenizer.phonemize:
            return sign.isascii() or not sign.isalpha() or unicodedata.name(sign, "").startswith("LATIN")
        return bool(self._tokenizer.is_uroman) and sign.isalpha()

    def _piece(self, text: str) -> Speech | None:
        """One sentence; None if there is nothing to speak in it."""
        tokens = self._tokens(text)
        if not any(_is_sound(sign) for sign in tokens["signs"]):
            return None
        wave, frames = self._sound(tokens["ids"])
        hop = len(wave) / float(frames.sum())
        rate = int(self._model.config.sampling_rate)
        ends = np.cumsum(frames) * hop / rate
        units = _units(tokens["signs"], ends, blanks=bool(self._tokenizer.add_blank))
        language = "ipa" if self._tokenizer.phonemize else self._tokenizer.language
        return Speech(AudioClip(wave, rate), _phonemes(units, language, len(wave) / rate))

    def _tokens(self, text: str) -> dict[str, Any]:
        try:
            if self._tokenizer.phonemize:
                _lend_espeak()
            ids = self._tokenizer(text, return_tensors="pt")["input_ids"]
        except (ImportError, RuntimeError) as error:
            raise MissingDependencyError(
                f"the VITS model {self._name} speaks phonemes, and what turns text into them does not work: "
                f"{' '.join(str(error).split())[:160]}",
                "Install it with: pip install phonemizer espeakng-loader",
            ) from error
        signs = self._tokenizer.convert_ids_to_tokens(ids[0].tolist())
        return {"ids": ids, "signs": signs[1::2] if self._tokenizer.add_blank else signs}

    def _sound(self, ids: torch.Tensor) -> tuple[torch.Tensor, np.ndarray[Any, np.dtype[np.float64]]]:
        """The wave `N` in [-1, 1], and the number of frames that each token lasts, as the model itself rounds it."""
        heard: list[torch.Tensor] = []
        hook = self._model.duration_predictor.register_forward_hook(lambda _, __, out: heard.append(out))
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.config.seed)
                speaker = self.config.voice if self._model.config.num_speakers > 1 else None
                out = self._model(input_ids=ids, speaker_id=speaker)
        finally:
            hook.remove()
        wave = out.waveform[0]
        if not bool(torch.isfinite(wave).all()):
            raise UserError(f"the VITS model {self._name} gives no sound but NaN", "Copy or download it again.")
        frames = torch.ceil(torch.exp(heard[-1]) * (1.0 / self._model.speaking_rate)).flatten().double().numpy()
        hop = int(np.prod(self._model.config.upsample_rates))
        if round(frames.sum()) * hop != len(wave):
            raise PluginBugError(
                f"voice 'vits': the durations of this transformers add up to {round(frames.sum()) * hop} samples,"
                f" the sound has {len(wave)}"
            )
        return wave.clamp(-1, 1).float(), frames


@cache
def _lend_espeak() -> None:
    """Lets phonemizer use the eSpeak NG that came as a wheel, where it is; else it looks for the system's."""
    try:
        import espeakng_loader
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError:
        return
    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())


def _pieces(text: str) -> list[str]:
    """Sentences; long ones cut at a comma or blank."""
    out: list[str] = []
    for sentence in _SENTENCE_END.split(text):
        rest = sentence.strip()
        while len(rest) > LONGEST_PIECE:
            head = rest[:LONGEST_PIECE]
            cut = max(head.rfind(", "), head.rfind("; "), head.rfind("、"), head.rfind("，")) + 1
            cut = cut if cut > LONGEST_PIECE // 3 else head.rfind(" ") + 1
            out.append(rest[: cut or LONGEST_PIECE])
            rest = rest[cut or LONGEST_PIECE :].strip()
        out.append(rest)
    return [piece for piece in out if piece]


def _is_sound(sign: str) -> bool:
    return sign.isalnum() and sign not in _STRESS + _LENGTH


def _units(
    signs: Sequence[str], ends: np.ndarray[Any, np.dtype[np.float64]], *, blanks: bool
) -> list[tuple[str, float, float]]:
    """Each sign with its time; a blank between two belongs half to each, those at the ends are pauses."""
    if not blanks:
        return [(sign, start, end) for sign, (start, end) in zip(signs, pairwise([0.0, *ends]), strict=True)]
    starts = np.concatenate([[0.0], ends[:-1]])
    inner = (starts[2:-1:2] + ends[2:-1:2]) / 2
    edges = [float(ends[0]), *map(float, inner), float(starts[-1])]
    units = [(sign, start, end) for sign, (start, end) in zip(signs, pairwise(edges), strict=True)]
    return [("", 0.0, edges[0]), *units, ("", edges[-1], float(ends[-1]))]


def _phonemes(units: Sequence[tuple[str, float, float]], language: str | None, seconds: float) -> tuple[Phoneme, ...]:
    """Signs to phonemes: words through `sounds`, silent signs into the sound before them, long blanks to pauses."""
    found: list[tuple[str, float, float]] = []
    for spoken, run in groupby(units, key=lambda unit: _is_word(unit[0])):
        word = list(run)
        if not spoken:
            found.append(("", word[0][1], word[-1][2]))
            continue
        read = [(sign, 1) for sign, _, _ in word] if language == "ipa" else sounds([u[0] for u in word], language)
        at, held = 0, None
        for ipa, count in read:
            start, end = word[at][1] if held is None else held, word[at + count - 1][2]
            at += count
            ipa = "".join(c for c in ipa if c not in _STRESS + _LENGTH)
            if ipa:
                found.append((ipa, start, end))
                held = None
            elif found and found[-1][0] and held is None and start == found[-1][2]:
                found[-1] = (found[-1][0], found[-1][1], end)
            else:
                held = start
        if held is not None:
            found.append(("", held, word[-1][2]))
    return _without_short_pauses(found, seconds)


def _is_word(sign: str) -> bool:
    return bool(sign) and (_is_sound(sign) or sign in _STRESS + _LENGTH or unicodedata.category(sign[0])[0] == "M")


def _without_short_pauses(found: Sequence[tuple[str, float, float]], seconds: float) -> tuple[Phoneme, ...]:
    """Blanks between words shared by the sounds beside them; one end for the clip and the last phoneme."""
    out: list[tuple[str, float, float]] = []
    for k, (ipa, start, end) in enumerate(found):
        inside = 0 < k < len(found) - 1
        if ipa == "" and inside and end - start < BREATH_SECONDS and out and out[-1][0]:
            middle = (start + end) / 2
            out[-1] = (out[-1][0], out[-1][1], middle)
            continue
        out.append((ipa, out[-1][2] if out else 0.0, end))
    out[-1] = (out[-1][0], out[-1][1], seconds)
    return tuple(Phoneme(*each) for each in out if each[2] > each[1])
