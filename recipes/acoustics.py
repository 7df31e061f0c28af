"""Rooms, microphones, codecs and noise: clean synthetic speech as a real recording might sound."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

Samples = NDArray[np.float32]


def recorded(sound: Samples, rate: int, rng: np.random.Generator) -> Samples:
    """The sound through a random chain of room, microphone, noise and codec; same length, not shifted in time."""
    x = sound.astype(np.float64)
    if rng.random() < 0.6:
        x = _room(x, rate, rng)
    if rng.random() < 0.8:
        x = _coloured(x, rate, rng)
    if rng.random() < 0.7:
        x = _noisy(x, rate, rng)
    if rng.random() < 0.3:
        x = _band_limited(x, rate, rng)
    if rng.random() < 0.2:
        loud = np.quantile(np.abs(x), rng.uniform(0.97, 0.999))
        x = np.clip(x, -loud, loud)
    elif rng.random() < 0.3:
        x = _compressed(x, rate, rng)
    peak = max(1e-6, float(np.abs(x).max()))
    return np.asarray(x / peak * 10 ** rng.uniform(-1.4, -0.05), np.float32)


def _room(x: NDArray[Any], rate: int, rng: np.random.Generator) -> NDArray[Any]:
    """Exponentially decaying noise after the direct sound, which keeps its time."""
    decay, share = rng.uniform(0.1, 0.6), 10 ** rng.uniform(-1.3, -0.1)
    t = np.arange(round(decay * rate)) / rate
    tail = rng.normal(size=len(t)) * np.exp(-6.9 * t / decay) * (t > rng.uniform(0.001, 0.012))
    answer = tail * share / max(1e-9, float(np.sqrt(np.square(tail).sum())))
    answer[0] = 1
    return np.asarray(fftconvolve(x, answer)[: len(x)])


def _coloured(x: NDArray[Any], rate: int, rng: np.random.Generator) -> NDArray[Any]:
    """A microphone's and a throat's own colour: a smooth random curve of up to about 10 dB over the spectrum."""
    spectrum = np.fft.rfft(x)
    octave = np.log2(np.maximum(np.fft.rfftfreq(len(x), 1 / rate), 40) / 40)
    knots = np.linspace(0, octave[-1] + 1e-9, 9)
    curve = np.interp(octave, knots, rng.normal(size=9) * rng.uniform(1, 5)) + rng.uniform(-3, 3) * (octave - 4)
    return np.asarray(np.fft.irfft(spectrum * 10 ** (curve / 20), len(x)))


def _noisy(x: NDArray[Any], rate: int, rng: np.random.Generator) -> NDArray[Any]:
    """White to brown noise, hum, or chords of a low music, 8 to 45 dB below the speech."""
    frequency = np.maximum(np.fft.rfftfreq(len(x), 1 / rate), 30)
    noise = np.fft.irfft(np.fft.rfft(rng.normal(size=len(x))) * frequency ** -rng.uniform(0, 1.0), len(x))
    kind = rng.random()
    t = np.arange(len(x)) / rate
    if kind < 0.2:
        mains = rng.choice([50.0, 60.0])
        hum = sum(rng.random() / k * np.sin(2 * np.pi * mains * k * t + rng.uniform(0, 6)) for k in range(1, 8))
        noise = 0.4 * noise / noise.std() + hum
    elif kind < 0.4:
        noise = 0.1 * noise / noise.std() + _music(t, rng)
    level = 10 ** (-rng.uniform(8, 45) / 20)
    return np.asarray(x + noise / max(1e-9, float(noise.std())) * max(1e-6, float(x.std())) * level)


def _music(t: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Chords that change every half second or so, with decaying overtones."""
    out, now = np.zeros(len(t)), 0.0
    while len(t) and now < t[-1]:
        span = rng.uniform(0.25, 0.9)
        inside = (t >= now) & (t < now + span)
        local = t[inside] - now
        root = 110 * 2 ** (rng.integers(0, 24) / 12)
        for step in (0, 4 if rng.random() < 0.5 else 3, 7):
            for k in range(1, 6):
                wave = np.sin(2 * np.pi * root * 2 ** (step / 12) * k * local + rng.uniform(0, 6))
                out[inside] += wave * np.exp(-local * k) / k
        now += span
    return out


def _band_limited(x: NDArray[Any], rate: int, rng: np.random.Generator) -> NDArray[Any]:
    """A telephone's or a low-rate codec's band, and its coarse amplitudes."""
    high = min(rng.uniform(3200, 7500), 0.45 * rate)
    low = rng.uniform(40, 300)
    out = sosfilt(butter(2, [low, high], "bandpass", fs=rate, output="sos"), x)
    if rng.random() < 0.5:
        scale = max(1e-9, float(np.abs(out).max()))
        mu = np.sign(out) * np.log1p(255 * np.abs(out) / scale) / np.log(256)
        mu = np.round(mu * 63) / 63
        out = np.sign(mu) * (256 ** np.abs(mu) - 1) / 255 * scale
    return np.asarray(out)


def _compressed(x: NDArray[Any], rate: int, rng: np.random.Generator) -> NDArray[Any]:
    """A broadcaster's compressor: quiet parts come up."""
    window = round(0.03 * rate)
    level = np.sqrt(np.convolve(np.square(x), np.ones(window) / window, "same")) + 1e-4
    return np.asarray(x * (level / level.max()) ** (rng.uniform(0.4, 0.9) - 1))


def slower(sound: Samples, factor: float) -> Samples:
    """Played slower (factor above 1) by resampling: a larger throat, a lower voice, longer sounds."""
    parts = round(factor * 100)
    return np.asarray(resample_poly(sound, parts, 100), np.float32)
