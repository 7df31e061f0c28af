"""What plugin authors test with: the conformance kit and synthetic captures.

The kit's parts import torch; they are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from realtalk_core.testing.kit import CheckResult, ConformanceReport, conformance, run_conformance
    from realtalk_core.testing.synthetic import make_capture, synthetic_clip

__all__ = ["CheckResult", "ConformanceReport", "conformance", "make_capture", "run_conformance", "synthetic_clip"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from realtalk_core.testing import kit, synthetic

    return getattr(synthetic if name in ("make_capture", "synthetic_clip") else kit, name)
