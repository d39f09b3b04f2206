"""Errors that the package raises on purpose.

ReviewsParsingError         root: one line that says what, where and what to do
├── DataError               a file, a row or a label that cannot be read or written
├── CorrectionConflict      a text was corrected concurrently (defined in corrections/store.py)
├── ModelError              a model folder, version or alias that does not exist or is damaged
│   ├── NoSuchAlias         a registered model without the requested alias
│   ├── ModelNotTrusted     a model that the trust policy refuses
│   └── ModelNotStored      a model that cannot be written to disk
├── TrackingError           the tracking server or store cannot be used
├── PromotionRefused        the gate does not let the challenger through
│   └── ChampionChanged     the champion changed while the challenger was compared with it
├── RetrainingFailed        a retraining that cannot start or continue
├── ServingError            the server cannot start
├── ClusterError            the cluster cannot be used, or refuses a request
├── RolloutRefused          a rollout that cannot start, or a step without a rollout
├── RolloutReverted         a rollout that failed and was undone
├── InferenceError          a server does not answer, or refuses a request
├── Stopped                 work was cancelled
└── RequestRefused          a request that the server rejects
"""

from __future__ import annotations


class ReviewsParsingError(Exception):
    """Root of all errors raised on purpose; the command line prints its message and exits with 1."""


class DataError(ReviewsParsingError):
    """A file, a row or a label that cannot be read or written."""


class ModelError(ReviewsParsingError):
    """A model folder, version or alias that does not exist or is damaged."""


class NoSuchAlias(ModelError):
    """A registered model has no such alias, or does not exist: no version is champion yet."""


class ModelNotTrusted(ModelError):
    """A model without a signature, by another signer than the trust policy names, or with files that differ."""


class ModelNotStored(ModelError):
    """A fetched model cannot be written to disk: the disk is full, or must not be written to."""


class TrackingError(ReviewsParsingError):
    """The tracking server or store cannot be used."""


class PromotionRefused(ReviewsParsingError):
    """The gate does not let the challenger through, and `force` was not given."""


class ChampionChanged(PromotionRefused):
    """Another promotion or rollback came first; the challenger must be compared with the present champion."""


class RetrainingFailed(ReviewsParsingError):
    """A retraining that cannot start or continue."""


class ServingError(ReviewsParsingError):
    """The server cannot start: a port is taken, or there is no model to serve."""


class ClusterError(ReviewsParsingError):
    """The cluster cannot be reached or used, or refuses a request."""


class RolloutRefused(ReviewsParsingError):
    """A rollout that cannot start because another is in progress, or a step without a rollout to continue."""


class RolloutReverted(ReviewsParsingError):
    """The new version did not become ready or did worse than the champion; the former version is served again."""


class InferenceError(ReviewsParsingError):
    """A server does not answer, or refuses a request.

    `retry_after` is the number of seconds after which a retry may succeed; `too_large` is True if a smaller one may.
    """

    def __init__(self, message: str, retry_after: float | None = None, too_large: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.too_large = too_large


class Stopped(ReviewsParsingError):
    """Work that was cancelled because its request was."""


class RequestRefused(ReviewsParsingError):
    """A request that the server rejects; `status` is the HTTP status of the response."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
