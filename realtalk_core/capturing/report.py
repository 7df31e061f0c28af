"""The quality report in words: what was found, what will hurt, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from realtalk_core.capturing.measure import Measures

SHORT_SECONDS, GOOD_SECONDS = 10.0, 60.0
SMALL_FACE_PX = 150
LATE_MS = 100.0
NARROW_YAW_DEG, WIDE_YAW_DEG = 6.0, 60.0


@dataclass(frozen=True)
class Finding:
    """Something that will hurt.

    Attributes:
        name: Stable name, for scripts and the documentation.
        text: What it is and what it does.
        cure: What to do.
    """

    name: str
    text: str
    cure: str


def findings(m: Measures) -> list[Finding]:
    """All warnings, gravest first."""
    return [*_picture_warnings(m), *_sound_warnings(m), *_footage_warnings(m)]


def _picture_warnings(m: Measures) -> Iterator[Finding]:
    if m.missing:
        share = m.missing / m.frames
        late = f"; the face first appears at {m.first_face:.1f} s" if m.first_face > 0.5 else ""
        yield Finding(
            "face_missing",
            f"no face in {m.missing} of {m.frames} frames ({share:.0%}), up to {m.longest_gap:.1f} s at a time{late}. "
            "They are left out of training",
            "Cut these parts away (--start, --end), or film without turning away or covering the face."
            if share > 0.05 else "Nothing needs to be done.",
        )  # fmt: skip
    if m.people > 1:
        yield Finding(
            "several_people",
            f"{m.people} people were seen ({m.crowded:.0%} of the frames show several faces); "
            f"the capture is of {m.chosen}",
            "If that is the wrong person, crop the video to the right one first.",
        )
    if m.cuts:
        at = ", ".join(f"{c:.1f}" for c in m.cuts[:6]) + (" …" if len(m.cuts) > 6 else "")
        yield Finding(
            "cuts",
            f"{len(m.cuts)} {'cut' if len(m.cuts) == 1 else 'cuts'} (at {at} s): pose and light jump there",
            "Use one uncut take, or --start and --end to keep the longest one.",
        )
    if m.face_width < SMALL_FACE_PX:
        yield Finding(
            "small_face",
            f"the face is only {m.face_width:.0f} pixels wide in the source; teeth and lashes cannot be learnt",
            f"Film closer or in a higher resolution: {SMALL_FACE_PX} pixels or more, 250 is good.",
        )
    if m.outside > 0.02:
        yield Finding(
            "tight_crop",
            f"{m.outside:.0%} of the crop lies outside the picture and was filled with its edge colours",
            "Frame the person with more room around head and shoulders.",
        )
    if m.sharpness < 2.5:
        yield Finding("blur", "the face is blurred throughout", "Focus on the eyes; use more light and a still camera.")
    elif m.blurred > 0.1:
        yield Finding(
            "motion_blur",
            f"{m.blurred:.0%} of the frames are much less sharp than the rest",
            "Use more light (a shorter exposure) and move less quickly.",
        )
    if m.background_moves:
        yield Finding(
            "background_moves",
            "the background changes during the clip, so there is no still plate and edges are less clean",
            "Use a tripod and a still background.",
        )
    if m.segmentation == "graph cut":
        yield Finding(
            "graph_cut",
            "the segmentation model was not found; the person was cut out by graph cuts, with rougher hair",
            "Put portrait_segmentation_256.onnx into the folder named by REALTALK_MODELS and run with --force.",
        )


def _sound_warnings(m: Measures) -> Iterator[Finding]:
    if m.loudness_db is None:
        yield Finding(
            "no_sound",
            "the video has no sound: the renderer can be trained, the mouth cannot learn to follow speech",
            "Use a video with the person's voice.",
        )
        return
    if m.loudness_db < -70:
        yield Finding("silent", "the sound is silent throughout", "Use a video in which the voice can be heard.")
        return
    if m.silent > 0.6:
        yield Finding(
            "little_speech",
            f"{1 - m.silent:.0%} of the clip has sound; the mouth learns from speech only",
            "Use footage in which the person talks most of the time.",
        )
    if m.loudness_db < -36:
        yield Finding(
            "quiet",
            f"the voice is quiet ({m.loudness_db:.0f} dB); noise weighs more",
            "Record closer to the microphone.",
        )
    if m.clipped > 1e-3:
        yield Finding("clipped", "the sound is overdriven (clipped)", "Lower the recording level.")
    if m.lag_ms is not None and abs(m.lag_ms) > LATE_MS:
        late = m.lag_ms < 0
        yield Finding(
            "sound_late" if late else "sound_early",
            f"the sound comes about {abs(m.lag_ms):.0f} ms {'after' if late else 'before'} the mouth "
            f"(correlation {m.sync:.2f} there); every later stage would learn this error",
            f"Shift the sound first, for example: ffmpeg -i VIDEO -itsoffset {m.lag_ms / 1000:.2f} -i VIDEO "
            "-map 0:v -map 1:a -c:v copy FIXED.mp4",
        )
    elif m.lag_ms is None and m.seconds >= 10:
        yield Finding(
            "sync_unknown",
            "the sound does not foretell the mouth: off-screen voice, music, or too little speech",
            "Make sure that the voice is the person's own and that nothing else is louder.",
        )


def _footage_warnings(m: Measures) -> Iterator[Finding]:
    if m.seconds < GOOD_SECONDS:
        short = m.seconds < SHORT_SECONDS
        yield Finding(
            "too_short" if short else "short",
            f"{m.seconds:.1f} s of footage is {'too little to learn a person from' if short else 'little'}; "
            "sounds and expressions that do not occur cannot be learnt",
            "Use 1 to 5 minutes.",
        )
    if m.eyes_tracked and m.blinks == 0 and m.seconds >= 5:
        yield Finding("no_blink", "no blink was seen: closed eyes cannot be learnt", "Use footage with a few blinks.")
    if m.mouth[1] - m.mouth[0] < 0.25:
        yield Finding("still_mouth", "the mouth hardly opens", "Use footage in which the person speaks clearly.")
    spread = m.yaw[1] - m.yaw[0]
    if spread < NARROW_YAW_DEG:
        yield Finding(
            "narrow_pose",
            f"the head turns by only {spread:.0f} degrees: the face's depth is mostly a guess, keep output poses close",
            "Turn the head a little to both sides while filming.",
        )
    if spread > WIDE_YAW_DEG:
        yield Finding(
            "wide_pose",
            f"the head turns by {spread:.0f} degrees: far turned frames are tracked less well",
            "Keep the head within 30 degrees of the camera.",
        )
    if m.repeated > 0.05:
        yield Finding(
            "low_frame_rate",
            f"{m.repeated:.0%} of the frames repeat the one before (the source has {m.source_fps:.1f} per second)",
            "Film at 25 frames per second or more.",
        )


def report_markdown(m: Measures, source: str, size: int) -> str:
    """The report as Markdown."""
    found = findings(m)
    head = f"# Capture of {source}\n\n"
    if found:
        head += f"{len(found)} {'thing' if len(found) == 1 else 'things'} to know:\n\n"
        head += "".join(f"- **{w.name}**: {w.text}. {w.cure}\n" for w in found)
    else:
        head += "Nothing stands in the way of a good avatar.\n"
    mouth = f"{m.mouth[0] * 10:.1f} to {m.mouth[1] * 10:.1f} mm"
    if m.loudness_db is None:
        sound = "none"
    elif m.lag_ms is None:
        sound = f"{m.loudness_db:.0f} dB; its timing against the mouth could not be told"
    else:
        before = "before" if m.lag_ms < 0 else "after"
        sound = f"{m.loudness_db:.0f} dB; mouth {abs(m.lag_ms):.0f} ms {before} the sound (correlation {m.sync:.2f})"
    rows = [
        ("length", f"{m.frames} frames, {m.seconds:.1f} s at {m.frames / m.seconds:.0f} per second"),
        ("face", f"{m.face_width:.0f} px wide in the source, {m.face_width_crop:.0f} px in the {size} px crop; "
                 f"seen in {m.frames - m.missing} frames"),
        ("people", f"{m.people}" + (f" ({m.chosen})" if m.chosen else "")),
        ("cuts", f"{len(m.cuts)}"),
        ("sharpness", f"{m.sharpness:.1f} (log variance of the Laplacian), {m.blurred:.0%} of the frames blurred"),
        ("head", f"yaw {_span(m.yaw)}, pitch {_span(m.pitch)}, roll {_span(m.roll)} degrees"),
        ("mouth", f"opens {mouth} (5th to 95th percentile)"),
        ("blinks", f"{m.blinks}" if m.eyes_tracked else "not measured"),
        ("sound", sound),
        ("pose solve", f"reprojection error {m.reprojection:.2f} px rms, {m.reprojection_median:.2f} px median; jitter "
                       f"{m.jitter_deg:.2f} degrees, {m.jitter_cm:.2f} cm (rms third difference; before smoothing "
                       f"{m.raw_jitter_deg:.2f}, {m.raw_jitter_cm:.2f}); focal length {m.focal:.0f} px"),
        ("masks", f"{m.segmentation}; {m.plate_known:.0%} of the background was seen, the rest is inpainted"),
    ]  # fmt: skip
    return head + "\n| | |\n|---|---|\n" + "".join(f"| {name} | {text} |\n" for name, text in rows)


def _span(limits: tuple[float, float]) -> str:
    return f"{limits[0]:.0f} to {limits[1]:.0f}"
