"""Every error that the package raises on purpose.

ReviewsParsingError         root: one line that says what, where and what to do
├── DataError               a file, a row or a label that cannot be read or written
├── CorrectionConflict      a text was corrected concurrently (defined in corrections/store.py)
├── ModelError              a model folder, version or alias that does not exist or is incomplete
│   └── NoSuchAlias         a registered model without the alias that was asked for
├── TrackingError           the tracking server or store cannot be used
├── PromotionRefused        the challenger is worse than the champion
├── ServingError            the server cannot start
├── ClusterError            the cluster cannot be used, or refuses what is asked
├── RolloutRefused          a rollout that cannot begin, or has nothing to go on with
├── RolloutReverted         a rollout that did not hold and was undone
├── InferenceError          a server does not answer, or refuses what it is asked
├── Stopped                 work that nobody waits for any more was ended
└── RequestRefused          a request that the server does not take
"""

from __future__ import annotations


class ReviewsParsingError(Exception):
    """Root of all errors raised on purpose; the command line prints its message and exits with 1."""


class DataError(ReviewsParsingError):
    """A file, a row or a label that cannot be read or written."""


class ModelError(ReviewsParsingError):
    """A model folder, version or alias that does not exist or is incomplete."""


class NoSuchAlias(ModelError):
    """A registered model has no such alias, or is not registered at all: nothing was made champion yet."""


class TrackingError(ReviewsParsingError):
    """The tracking server or store cannot be used."""


class PromotionRefused(ReviewsParsingError):
    """The challenger is worse than the champion, and `force` was not given."""


class ServingError(ReviewsParsingError):
    """The server cannot start: a port is taken, it is not installed, or there is no model to serve."""


class ClusterError(ReviewsParsingError):
    """The cluster cannot be reached or used, or refuses what is asked."""


class RolloutRefused(ReviewsParsingError):
    """A rollout that cannot begin because another is under way, or a step that finds nothing to go on with."""


class RolloutReverted(ReviewsParsingError):
    """The new version did not become ready or did worse than the champion; what was served before is served."""


class InferenceError(ReviewsParsingError):
    """A server does not answer, or refuses.

    Where asking again may help, `retry_after` says in how many seconds; `too_large` is set where less might be taken.
    """

    def __init__(self, message: str, retry_after: float | None = None, too_large: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.too_large = too_large


class Stopped(ReviewsParsingError):
    """Work that was ended because nobody waits for it any more."""


class RequestRefused(ReviewsParsingError):
    """A request that the server does not take; `status` is the HTTP status of the answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
