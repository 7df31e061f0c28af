"""From phonemes to the mouth's controls."""

import numpy as np

from realtalk_actor.speech import CONTROLS, closures, controls, unknown_sounds
from realtalk_core.voice import Phoneme

JAW, ROUND = CONTROLS.index("jaw"), CONTROLS.index("round")


def said(*sounds, each=0.12):
    return [Phoneme(ipa, k * each, (k + 1) * each) for k, ipa in enumerate(sounds)]


def middle_of(k, each=0.12):
    return np.array([(k + 0.5) * each])


def test_vowels_open_and_round_as_they_should():
    speech = said("ɑ", "u")
    assert controls(speech, middle_of(0))[0, JAW] > 2 * controls(speech, middle_of(1))[0, JAW]
    assert controls(speech, middle_of(1))[0, ROUND] > 0.7


def test_lips_press_together_in_the_middle_of_p_b_m_and_nowhere_else():
    speech = said("ɑ", "b", "ɑ", "k", "ɑ")
    assert closures(speech, middle_of(1))[0] > 0.99
    assert closures(speech, middle_of(3))[0] < 0.01


def test_an_unknown_sound_leaves_the_mouth_to_its_neighbours():
    opened, shut = controls(said("ɑ", "☃", "ɑ"), middle_of(1)), controls(said("ɑ", "", "ɑ"), middle_of(1))
    assert unknown_sounds("☃") == "☃"
    assert opened[0, JAW] > 2 * shut[0, JAW]


def test_sounds_of_other_languages_move_the_mouth():
    for ipa in "χʉʀɱħʕʝ":
        assert unknown_sounds(ipa) == ""
    assert controls(said("ʉ"), middle_of(0))[0, ROUND] > 0.7
