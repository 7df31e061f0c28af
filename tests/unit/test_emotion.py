import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from realtalk_core.emotion import ALIASES, CROSS_FADE_SECONDS, LABELS, VALENCE_AROUSAL, parse_emotion, parse_va
from realtalk_core.errors import UserError

NEUTRAL = LABELS.index("neutral")


def weight(track, label):
    return track.weights[:, LABELS.index(label)]


@pytest.mark.parametrize("label", LABELS)
def test_a_label_is_its_weight(label):
    track = parse_emotion(label).track(5, 25.0)
    assert torch.equal(weight(track, label), torch.ones(5))
    assert track.weights.sum(1).tolist() == pytest.approx([1] * 5)
    assert track.va[0].tolist() == pytest.approx(VALENCE_AROUSAL[label])


def test_intensity_leaves_the_rest_to_neutral():
    track = parse_emotion("happy:0.7").track(2, 25.0)
    assert weight(track, "happy").tolist() == pytest.approx([0.7, 0.7])
    assert weight(track, "neutral").tolist() == pytest.approx([0.3, 0.3])


@pytest.mark.parametrize(("alias", "label"), ALIASES.items())
def test_aliases(alias, label):
    assert parse_emotion(alias) == parse_emotion(label)


def test_a_timeline_holds_each_label_and_fades_between():
    track = parse_emotion("neutral@0 happy:0.8@1.5 sad@4").track(150, 25.0)
    times = (torch.arange(150) + 0.5) / 25
    half = CROSS_FADE_SECONDS / 2
    assert (weight(track, "neutral")[times < 1.5 - half] == 1).all()
    middle = (times > 1.5 + half) & (times < 4 - half)
    assert weight(track, "happy")[middle].tolist() == pytest.approx([0.8] * int(middle.sum()))
    assert (weight(track, "sad")[times > 4 + half] == 1).all()
    assert (track.weights[1:] - track.weights[:-1]).abs().max() < 0.25
    assert track.weights.sum(1).tolist() == pytest.approx([1] * 150, abs=1e-6)


def test_a_timeline_that_begins_late_begins_neutral():
    track = parse_emotion("angry@2").track(25, 25.0)
    assert (weight(track, "neutral") == 1).all()


@given(st.integers(0, 200), st.integers(1, 60))
def test_any_stretch_of_a_plan_is_the_plans_stretch(start, count):
    plan = parse_emotion("fear@1 sad:0.4@3 surprise@7")
    whole, part = plan.track(300, 25.0), plan.track(count, 25.0, start)
    assert torch.equal(part.weights, whole.weights[start : start + count])
    assert torch.equal(part.va, whole.va[start : start + count])


@pytest.mark.parametrize("label", [name for name in LABELS if name != "neutral"])
def test_valence_and_arousal_of_a_label_give_the_label(label):
    track = parse_va(*VALENCE_AROUSAL[label]).track(1, 25.0)
    assert weight(track, label).item() == pytest.approx(1, abs=1e-4)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_every_point_gives_weights_that_sum_to_one(valence, arousal):
    track = parse_va(valence, arousal).track(2, 25.0)
    assert track.weights.sum(1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert track.va[1].tolist() == pytest.approx([valence, arousal], abs=1e-6)


@pytest.mark.parametrize(
    "text", ["valence=0.6,arousal=-0.3", "arousal=-0.3 valence=0.6", "Valence=0.6, arousal=-0.3@0"]
)
def test_a_point_may_stand_in_place_of_a_label(text):
    track, same = parse_emotion(text).track(3, 25.0), parse_va(0.6, -0.3).track(3, 25.0)
    assert torch.equal(track.weights, same.weights)
    assert torch.equal(track.va, same.va)
    assert track.va[0].tolist() == pytest.approx([0.6, -0.3])


def test_a_timeline_may_mix_labels_and_points():
    track = parse_emotion("happy:0.5@0 valence=-0.4,arousal=0.2@1 arousal=-0.5@2 sad@3").track(100, 25.0)
    rows = {0: (0.405, 0.255), 38: (-0.4, 0.2), 63: (0.0, -0.5), 99: VALENCE_AROUSAL["sad"]}
    for frame, point in rows.items():
        assert track.va[frame].tolist() == pytest.approx(point, abs=1e-6)
    assert track.weights.sum(1).tolist() == pytest.approx([1] * 100, abs=1e-5)
    assert (track.va[1:] - track.va[:-1]).abs().max() < 0.25


def test_intensity_grows_with_the_radius():
    away = [1 - parse_va(r * 0.8, r * 0.5).track(1, 25.0).weights[0, NEUTRAL].item() for r in (0, 0.25, 0.5, 1)]
    assert away == sorted(away)
    assert away[0] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("hapy", "did you mean 'happy'"),
        ("happy:x", "'x' in 'happy:x' is no intensity"),
        ("happy:nan", "is no intensity"),
        ("happy@-1", "is negative"),
        ("happy@ sad@2", "is no time"),
        ("happy sad@2", "'happy' has no time"),
        ("happy@1 sad@1", "does not come after"),
        ("happy:-0.1", "outside 0 to 1"),
        ("valence=2", "valence 2 in 'valence=2' is outside -1 to 1"),
        ("valence=0.1,arousal=x", "'x' in 'valence=0.1,arousal=x' is no arousal"),
        ("valense=0.1", "did you mean 'valence'"),
        ("valence=0.1 valence=0.2", "'valence=0.1' has no time"),
        ("happy@2 valence=0.5,arousal=0.1@1", "valence=0.5,arousal=0.1@1 does not come after happy@2"),
    ],
)
def test_mistakes_name_the_word(text, message):
    with pytest.raises(UserError) as error:
        parse_emotion(text)
    assert message in str(error.value)
