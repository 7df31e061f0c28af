"""The voice itself: text in, sound and phonemes with their times out."""

import torch

from realtalk_core.errors import UserError
from realtalk_core.types import AudioClip
from realtalk_core.voice import Phoneme, Speech

RATE = 16000
FORMANTS = {"a": (750, 1200), "e": (500, 1900), "i": (300, 2200), "o": (500, 900), "u": (320, 800), "y": (300, 2200)}


class Vowels:
    """Every letter lasts as long: a vowel 120 ms, a consonant 60."""

    def __init__(self, config):
        self.config = config

    def speak(self, text):
        """Speaks the letters a to z."""
        letters = [letter for letter in text.lower() if "a" <= letter <= "z" or letter == " "]
        strange = next((letter for letter in text if letter.isalnum() and letter.lower() not in letters), None)
        if strange or not any(letter != " " for letter in letters):
            raise UserError(f"the voice 'vowels' cannot speak {strange or text!r}", "Write words of the letters a-z.")
        sounds, phonemes, at = [], [], 0.0
        for letter in letters:
            seconds = 0.12 if letter in FORMANTS else 0.06
            sounds.append(self.sound(letter, round(seconds * RATE)))
            phonemes.append(Phoneme(letter.strip(), at, at + seconds))
            at += seconds
        return Speech(AudioClip(torch.cat(sounds).clamp(-1, 1), RATE), tuple(phonemes))

    def sound(self, letter, count):
        """A vowel's harmonics weighed by its formants; noise for a consonant; nothing for a blank."""
        if letter not in FORMANTS:
            hiss = torch.randn(count, generator=torch.Generator().manual_seed(ord(letter)))
            return 0.05 * hiss * (letter != " ")
        times, harmonics = torch.arange(count) / RATE, torch.arange(1, 30)[:, None] * self.config.pitch
        weights = sum(1 / (1 + ((harmonics - formant) / 80) ** 2) for formant in FORMANTS[letter])
        return 0.2 * (weights * torch.sin(2 * torch.pi * harmonics * times)).sum(0) * torch.hann_window(count)
