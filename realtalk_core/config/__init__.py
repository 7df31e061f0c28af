"""Configuration: reading `registry.yaml`, its layers, and checking them; none of it imports torch."""

from realtalk_core.config.motion import MotionConfig
from realtalk_core.config.resolve import Config, Selected, default_registry, load_config

__all__ = ["Config", "MotionConfig", "Selected", "default_registry", "load_config"]
