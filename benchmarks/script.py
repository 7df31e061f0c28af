"""How a benchmark ends: what its user can mend is said in one message, with exit code 2, as the commands do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from realtalk_core.cli.failures import INTERRUPTED, report
from realtalk_core.training.loop import TrainingStopped


def run(main: Callable[[], int | None]) -> NoReturn:
    """Ends this process with what `main` gives, or with the code and the message of what it raises."""
    try:
        code = main()
    except TrainingStopped as stopped:
        sys.stderr.write(f"\n{stopped}\n  Go on with the same line.\n")
        code = INTERRUPTED
    except (Exception, KeyboardInterrupt) as error:
        code = report(error, None)
    sys.exit(code or 0)
