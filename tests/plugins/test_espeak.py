"""The eSpeak NG voice; skipped where the optional extra is not installed."""

import pytest

pytest.importorskip("espeakng_loader", reason="needs the extra realtalk[espeak]")

from realtalk_core.errors import UserError
from realtalk_core.voice import Voice
from realtalk_espeak import EspeakConfig
from realtalk_espeak.voice import EspeakVoice


@pytest.fixture(scope="module")
def voice():
    return EspeakVoice(EspeakConfig(voice="en-us"))


def test_phonemes_span_the_clip_in_order(voice):
    assert isinstance(voice, Voice)
    speech = voice.speak("Bob maps the moon.")
    sounds = [p.ipa for p in speech.phonemes if p.ipa]
    assert sounds[0] == "b"
    assert sounds.count("m") == 2
    assert "p" in sounds
    assert abs(speech.phonemes[-1].end - speech.clip.seconds) < 1e-6
    assert 0.8 < speech.clip.seconds < 3


def test_sound_is_loud_in_vowels_and_quiet_in_pauses(voice):
    speech = voice.speak("Aha. Aha.")
    level = {}
    for p in speech.phonemes:
        cut = speech.clip.samples[int(p.start * speech.clip.sample_rate) : int(p.end * speech.clip.sample_rate)]
        if len(cut):
            level.setdefault(p.ipa, []).append(float(cut.abs().mean()))
    assert max(level["ɑ"]) > 20 * min(level[""])


def test_same_text_same_phonemes_within_a_few_milliseconds(voice):
    first, second = voice.speak("Once more."), voice.speak("Once more.")
    assert [p.ipa for p in first.phonemes] == [p.ipa for p in second.phonemes]
    assert max(abs(a.end - b.end) for a, b in zip(first.phonemes, second.phonemes, strict=True)) < 0.01


def test_speed_and_variant_change_the_sound():
    slow = EspeakVoice(EspeakConfig(voice="en-us", words_per_minute=100)).speak("Good morning to you.")
    fast = EspeakVoice(EspeakConfig(voice="en-us+f3", words_per_minute=220)).speak("Good morning to you.")
    assert slow.clip.seconds > 1.5 * fast.clip.seconds


@pytest.mark.parametrize(
    ("text", "word"), [("", "empty"), ("   \n", "empty"), ("...", "nothing"), ("你好", "Cjk"), ("привет", "Cyrillic")]
)
def test_bad_text_is_named(voice, text, word):
    with pytest.raises(UserError, match=word):
        voice.speak(text)


def test_unknown_voice_is_named_with_the_known_ones():
    with pytest.raises(UserError, match=r"no voice 'en-uss'.*did you mean 'en-us'"):
        EspeakVoice(EspeakConfig(voice="en-uss"))


def test_text_in_the_voices_own_script():
    assert len(EspeakVoice(EspeakConfig(voice="ru")).speak("привет").phonemes) > 4
