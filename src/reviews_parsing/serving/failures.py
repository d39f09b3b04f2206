"""What the log says of a request that failed here: where, not what, for a message may quote a text."""

from __future__ import annotations

import logging
import traceback

MESSAGE = "the server failed at this request; its log says where"


def log_failure(error: BaseException) -> None:
    where = "".join(traceback.format_tb(error.__traceback__))
    logging.getLogger("mlserver").error("a request failed with %s\n%s", type(error).__name__, where)
