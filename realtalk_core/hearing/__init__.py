"""Hearing: everything between sound and one row of features per video frame that audio encoders have in common."""

from realtalk_core.hearing.encoder import RowEncoder
from realtalk_core.hearing.file import load_features
from realtalk_core.hearing.pieces import hear
from realtalk_core.hearing.stream import open_stream

__all__ = ["RowEncoder", "hear", "load_features", "open_stream"]
