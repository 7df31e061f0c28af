"""The eSpeak NG voice; skipped where the optional extra is not installed."""

import time

import pytest
import torch

pytest.importorskip("espeakng_loader", reason="needs the extra realtalk[espeak]")

from realtalk_core.errors import UserError
from realtalk_core.voice import ManyVoices, Voice, speak
from realtalk_espeak import EspeakConfig
from realtalk_espeak.voice import EspeakVoice


def of(name, **more):
    return EspeakVoice(EspeakConfig(voice=name, **more))


@pytest.fixture(scope="module")
def voice():
    return of("en-us")


def sounds(speech):
    return [p.ipa for p in speech.phonemes if p.ipa]


def test_phonemes_span_the_clip_in_order(voice):
    assert isinstance(voice, Voice)
    speech = voice.speak("Bob maps the moon.")
    assert sounds(speech)[0] == "b"
    assert sounds(speech).count("m") == 2
    assert "p" in sounds(speech)
    assert abs(speech.phonemes[-1].end - speech.clip.seconds) < 1e-6
    assert 0.8 < speech.clip.seconds < 3


def test_the_mouth_does_not_close_inside_a_word(voice):
    """Glides (the i of piano, the soft sign of Russian) have no name in the IPA, and neither have pauses."""
    inside = voice.speak("The piano, nobody.").phonemes
    assert [p.ipa for p in inside if p.end - p.start > 0.03] == [
        "ð", "ə", "p", "i", "æ", "n", "oʊ", "", "n", "oʊ", "b", "ɑ", "d", "i", ""
    ]  # fmt: skip
    assert [p.ipa for p in of("ru").speak("привет").phonemes][:-1] == ["", "p", "r", "i", "v", "e", "t"]


def test_sound_is_loud_in_vowels_and_quiet_in_pauses(voice):
    speech = voice.speak("Aha. Aha.")
    level = {}
    for p in speech.phonemes:
        cut = speech.clip.samples[int(p.start * speech.clip.sample_rate) : int(p.end * speech.clip.sample_rate)]
        if len(cut):
            level.setdefault(p.ipa, []).append(float(cut.abs().mean()))
    assert max(level["ɑ"]) > 20 * min(level[""])


@pytest.mark.parametrize("name", ["en-us", "en-us+f3", "de+klatt4", "en-gb+caleb"])
def test_same_text_same_speech_whatever_was_said_between_and_when(name):
    first = of(name).speak("Once more.")
    of("de+klatt4", pitch=90).speak("Etwas anderes.")
    time.sleep(1.1)  # eSpeak NG takes the second of the day for the seed of its noise
    again = of(name).speak("Once more.")
    assert again.phonemes == first.phonemes
    assert torch.equal(again.clip.samples, first.clip.samples)


def test_speed_pitch_and_variant_change_the_sound():
    slow = of("en-us", words_per_minute=100).speak("Good morning to you.")
    fast = of("en-us", words_per_minute=220).speak("Good morning to you.")
    assert slow.clip.seconds > 1.5 * fast.clip.seconds
    spoken = [of("en-us", **more).speak("Good.").clip for more in ({}, {"pitch": 80}, {"pitch_range": 0})]
    spoken += [of(name).speak("Good.").clip for name in ("en-us+f3", "en-us+m5", "en-us+klatt", "en-gb+f3")]
    assert len({tuple(clip.samples[::50].tolist()) for clip in spoken}) == len(spoken)


def test_every_listed_voice_and_variant_speaks_as_itself(voice):
    """eSpeak NG takes another voice, and no variant, without a word when it does not know one."""
    assert isinstance(voice, ManyVoices)
    names = [v.name for v in voice.voices()]
    assert len(set(names)) == len(names)
    voices, variants = [n for n in names if n[0] != "+"], [n for n in names if n[0] == "+"]
    assert len(voices) > 130
    assert len(variants) > 100
    assert {"en-gb", "en-us", "de", "fr-fr", "cmn", "yue", "yue-latn-jyutping", "vi-vn-x-south"} <= set(voices)
    assert {"+f3", "+m5", "+klatt", "+whisper"} <= set(variants)
    for name in voices:  # set_voice inside raises if eSpeak NG chose another one
        assert sounds(of(name).speak("kipu 3")), name
    for name in variants:
        assert sounds(of("en-gb" + name).speak("A")), name


@pytest.mark.parametrize(
    ("alias", "name"),
    [("EN_GB", "en-gb"), ("en", "en-gb"), ("fr", "fr-fr"), ("no", "nb"), ("zh", "cmn"), ("en-us+F3", "en-us+f3")],
)
def test_other_ways_of_writing_a_voice(alias, name):
    assert torch.equal(of(alias).speak("No 1.").clip.samples, of(name).speak("No 1.").clip.samples)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("en-uss", "no voice 'en-uss' - did you mean 'en-us'"),
        ("german", "no voice 'german' - did you mean 'de'?"),
        ("qqq", "no voice 'qqq'\n"),
        ("", "no voice ''\n"),
        ("fo", "no voice 'fo'\n"),  # listed by eSpeak NG, but its dictionary is not shipped: it would be silent
        ("en-gb+ff3", "no variant 'ff3' (voice 'en-gb+ff3') - did you mean 'en-gb+f3'?"),
        ("en-gb+", "no variant ''"),
        ("qqq+f3", "no voice 'qqq+f3'\n"),
    ],
)
def test_unknown_voice_is_named_with_the_nearest_and_how_to_list_them(name, words):
    with pytest.raises(UserError) as caught:
        of(name)
    assert words in str(caught.value)
    assert "realtalk voices" in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("...", "nothing"),
        ("¿?!", "nothing"),
        ("__ --", "nothing"),
        ("你好", "cannot speak '你' (Cjk script)"),
        ("Say привет to her", "cannot speak 'п' (Cyrillic script)"),
        ("ok \u200d\u200d", None),
    ],
)
def test_what_it_cannot_speak_is_named(voice, text, words):
    if words is None:
        assert sounds(speak(voice, text))
    else:
        with pytest.raises(UserError) as caught:
            speak(voice, text)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ru", "привет"), ("ru", "привет, hello"), ("cmn", "你好"), ("yue", "你好"), ("ja", "こんにちは"),
        ("ko", "안녕"), ("el", "καλημέρα"), ("ar", "مرحبا"), ("he", "שלום"), ("hi", "नमस्ते"), ("ti", "ሰላም"),
        ("th", "สวัสดี"), ("ka", "გამარჯობა"), ("sr", "здраво"), ("hr", "zdravo"), ("uk", "привіт"),
        ("ta", "வணக்கம்"), ("haw", "Hawaiʻi"), ("es", "el 1º"),
    ],
)  # fmt: skip
def test_text_in_the_voices_own_script(name, text):
    assert len(sounds(of(name).speak(text))) >= 3


@pytest.mark.parametrize("name", ["ja", "ko", "hak"])
def test_chinese_characters_that_would_be_spelt_out_are_refused(name):
    with pytest.raises(UserError, match="Cjk"):
        of(name).speak("日本")


def test_numbers_symbols_and_emoji_are_read_out(voice):
    assert sounds(voice.speak("42")) == sounds(voice.speak("forty two"))
    assert sounds(of("de").speak("42")) != sounds(voice.speak("42"))
    assert sounds(voice.speak("5 µ, π"))
    assert "ɡ" in sounds(voice.speak("😀"))  # grinning face
    assert sounds(speak(voice, "Ｈｅｌｌｏ")) == sounds(voice.speak("Hello"))


def test_a_change_of_language_is_no_sound():
    """eSpeak NG reports it as a phoneme called (en)."""
    speech = of("ru").speak("hello")
    assert "(" not in "".join(sounds(speech))
    assert sounds(speech)[0] == "h"
