"""From a video to a capture: box, pose solve, landmarks in head space, masks, background plate, report, overview."""

from realtalk_core.capturing.passes import Options, Progress, Result, run

__all__ = ["Options", "Progress", "Result", "run"]
