"""`python -m tfmodel_operator`."""

from __future__ import annotations

import logging
import sys

import uvloop

from tfmodel_operator import logs, run, settings
from tfmodel_operator.cluster.lease import LeaseLost
from tfmodel_operator.cluster.reflector import HistoryRewritten

log = logging.getLogger(__name__)


def main() -> int:
    """Run the operator; return the exit code."""
    configured = settings.parse(sys.argv[1:])
    logs.configure()
    try:
        uvloop.run(run.run(configured))
    except (LeaseLost, HistoryRewritten) as error:  # ends that are meant to be, however sudden
        log.error("Ending", extra={"error": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
