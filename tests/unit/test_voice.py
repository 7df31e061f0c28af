"""What holds for every voice: the text it is given, its loudness, and how a command chooses it."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from realtalk_core import config as configuration
from realtalk_core.audio import PEAK, level, loudness
from realtalk_core.cli import run
from realtalk_core.cli.speech import chosen_voice
from realtalk_core.errors import ConfigError, ShapeError, UserError
from realtalk_core.types import AudioClip
from realtalk_core.voice import LOUDNESS_LUFS, MAX_CHARACTERS, Phoneme, Speech, VoiceName, join, readable, speak

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
import fake_plugins


def tone(seconds, volume=0.5, rate=16000, hertz=997.0):
    return AudioClip(torch.from_numpy(volume * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate))
                     .float(), rate)  # fmt: skip


class Hummer:
    """Hums as long as the text is."""

    def __init__(self, config=None, volume=0.01):
        self.config, self.volume, self.heard = config, volume, []

    def speak(self, text):
        self.heard.append(text)
        seconds = 0.1 * len(text)
        return Speech(tone(seconds, self.volume), (Phoneme("m", 0.0, seconds),))


def test_loudness_of_the_standards_own_example():
    """BS.1770: a sine of 997 Hz at full scale in one channel reads -3.01; at a tenth of it 20 less."""
    for rate in (16000, 22050, 44100, 48000):
        assert loudness(tone(2.0, 1.0, rate)) == pytest.approx(-3.01, abs=0.1)
        assert loudness(tone(2.0, 0.1, rate)) == pytest.approx(-23.01, abs=0.1)


def test_pauses_do_not_make_speech_quieter_and_silence_has_no_loudness():
    loud, silence = tone(2.0, 0.3), torch.zeros(16000 * 6)
    paused = AudioClip(torch.cat([loud.samples, silence, loud.samples]), 16000)
    assert loudness(paused) == pytest.approx(loudness(loud), abs=0.5)
    assert loudness(AudioClip(silence, 16000)) == -np.inf
    assert loudness(AudioClip(torch.zeros(0), 16000)) == -np.inf
    assert torch.equal(level(AudioClip(silence, 16000), -20.0).samples, silence)


def test_level_gives_the_loudness_asked_for_unless_peaks_forbid_it():
    assert loudness(level(tone(1.0, 0.003), -20.0)) == pytest.approx(-20.0, abs=0.01)
    click = torch.zeros(16000)
    click[8000] = 0.5
    assert float(level(AudioClip(click, 16000), -10.0).samples.max()) == pytest.approx(PEAK, abs=1e-6)


def test_every_voice_comes_out_at_one_loudness_and_the_rate_asked_for():
    for volume in (0.001, 0.05, 0.9):
        speech = speak(Hummer(volume=volume), "a hum of two seconds", sample_rate=22050)
        assert loudness(speech.clip) == pytest.approx(LOUDNESS_LUFS, abs=0.05)
        assert speech.clip.sample_rate == 22050
        assert speech.clip.seconds == pytest.approx(speech.phonemes[-1].end, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("  Good \t morning.\r\n\r\n Bye \x0c", "Good morning.\nBye"),
        ("cafe\u0301", "café"),
        ("Ｈｅｌｌｏ ﬁsh 𝐛𝐨𝐥𝐝", "Hello fish bold"),
        ("\ufeff5 µm, 1º, x²", "5 µm, 1º, x²"),
        ("non\u00a0breaking\u2003blank", "non breaking blank"),
    ],
)
def test_readable(text, plain):
    assert readable(text) == plain
    voice = Hummer()
    speak(voice, text)
    assert voice.heard == [plain]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (" \n\t\u2003\ufeff", "is empty"),
        ("ding\x07", "character 5 of the text is the control character U+0007"),
        ("\x0130S hello", "character 1 of the text is the control character U+0001"),  # eSpeak NG would obey it
        ("a\udcff", "half a character, U+DCFF"),
        ("a" * (MAX_CHARACTERS + 1), f"has {MAX_CHARACTERS + 1} characters; at most {MAX_CHARACTERS}"),
    ],
)
def test_text_that_nobody_can_speak(text, words):
    voice = Hummer()
    with pytest.raises(UserError) as caught:
        speak(voice, text)
    assert words in str(caught.value)
    assert voice.heard == []


def test_join_keeps_phonemes_and_sound_together():
    first, second = Hummer().speak("ab"), Hummer().speak("abc")
    both = join([first, second], pause=0.5)
    assert both.clip.seconds == pytest.approx(1.0)
    assert [(p.ipa, round(p.start, 6), round(p.end, 6)) for p in both.phonemes] == [
        ("m", 0.0, 0.2), ("", 0.2, 0.7), ("m", 0.7, 1.0)
    ]  # fmt: skip
    assert torch.equal(both.clip.samples[-4800:], second.clip.samples)
    with pytest.raises(ShapeError, match="one sample rate"):
        join([first, Speech(tone(1.0, rate=8000), ())])
    with pytest.raises(ShapeError, match="no speech"):
        join([])


@pytest.fixture
def plugins(monkeypatch):
    """The fake plugins, whose larynx hums."""
    golden = Path(__file__).parents[1] / "golden" / "shipped.yaml"
    monkeypatch.delenv("REALTALK_CONFIG", raising=False)
    monkeypatch.setattr(configuration.resolve, "default_registry", lambda: golden)
    found = fake_plugins.plugins()
    specs = tuple(dataclasses.replace(spec, load=lambda: Hummer) for spec in found.specs)
    return dataclasses.replace(found, specs=specs)


def chosen(plugins, *sets, name=None, **more):
    return chosen_voice(None, ["voice=larynx", *sets], name, plugins, **more).config.model_dump()


def test_a_name_goes_before_the_configuration_and_that_before_the_otherwise(plugins):
    usual = {"otherwise": {"larynx": "bass"}}
    assert chosen(plugins) == {"voice": "tenor", "pitch": 0}
    assert chosen(plugins, "voice.pitch=2", **usual) == {"voice": "bass", "pitch": 2}
    assert chosen(plugins, "voice.voice=alto", **usual)["voice"] == "alto"
    assert chosen(plugins, "voice.voice=alto", "voice.pitch=2", name="no", **usual) == {"voice": "no", "pitch": 2}


def test_a_voice_that_nobody_chose_or_that_is_none(plugins):
    with pytest.raises(UserError, match=r"nothing fills the stage voice\n.*--set voice=NAME"):
        chosen_voice(None, (), None, plugins)
    with pytest.raises(UserError, match=r"that is a kind of voice\n.*--set voice=larynx"):
        chosen(plugins, name="larynx")
    with pytest.raises(ConfigError, match="must be at most 12"):
        chosen(plugins, "voice.pitch=99")


def test_voices_lists_filters_and_prints_json(capsys, monkeypatch):
    from realtalk_core.cli import voices

    class Choir(Hummer):
        def voices(self):
            return [VoiceName("alto", "a woman"), VoiceName("bass", "a man"), VoiceName("+old", "variant")]

    monkeypatch.setattr(voices, "chosen_voice", lambda *_, **__: Choir())
    assert run(["voices"]) == 0
    out = capsys.readouterr().out
    assert "  alto  a woman\n  bass  a man\n" in out
    assert "such as en-gb+f3\n  +old\n" in out
    assert "--set voice=NAME" in out
    assert run(["voices", "WOMAN"]) == 0
    assert "bass" not in capsys.readouterr().out
    assert run(["voices", "old", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["voices"] == [{"name": "+old", "about": "variant"}]
    assert run(["voices", "soprano"]) == 2
    assert "no voice of 'espeak' has 'soprano' in its name" in capsys.readouterr().err
    monkeypatch.setattr(voices, "chosen_voice", lambda *_, **__: Hummer())
    assert run(["voices"]) == 0
    assert "has one voice only" in capsys.readouterr().out
