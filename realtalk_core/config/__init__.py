"""Configuration: reading `registry.yaml`, its layers, and checking them; none of it imports torch."""

from realtalk_core.config.motion import MotionConfig
from realtalk_core.config.needs import Selected
from realtalk_core.config.resolve import Config, default_registry, disabled_plugins, load_config, names_stage

__all__ = ["Config", "MotionConfig", "Selected", "default_registry", "disabled_plugins", "load_config", "names_stage"]
