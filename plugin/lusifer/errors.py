"""Every error of the plugin, in one tree by kind; the other components' roots join it.

::

    LusiferError                      what failed, what to do next, whether a retry helps
    ├── InvalidInputError             400  a text or document that can't be embedded
    │   ├── InvalidTextError          400  empty, NUL bytes, lone surrogates
    │   ├── TextTooLongError          400  over the token limit under the policy ``error``
    │   ├── InvalidDimensionError     400  a dimension the model doesn't have
    │   └── MalformedRequestError     400  broken JSON, wrong types, missing fields
    ├── MissingExtraError             500  an optional dependency is not installed
    ├── SettingsError                 500  a setting that can't be used
    ├── UnauthorizedError             401  an API key is missing or wrong
    ├── ForbiddenError                403  a web page or a name of the service that is not allowed
    ├── BundleError                   500
    │   ├── BundleNotFoundError       404
    │   ├── BundleCorruptError        500  a file is missing, cut or changed
    │   ├── BundleGateError           500  it failed export's comparison with PyTorch
    │   └── BundleSchemaError         500  written by a newer version
    ├── EngineError                   500
    │   ├── EngineOutputError         500  wrong count or dimension, NaN, not unit norm
    │   ├── EngineBusyError           503  out of memory at the moment; a retry helps
    │   └── EngineUnavailableError    503  the engine's server can't be reached; a retry helps
    ├── ServiceError                  500  the vectorizer service refuses a request
    │   ├── UnknownModelError         404
    │   ├── NotServedError            404  no such path
    │   ├── MethodNotAllowedError     405  the path exists, but not for this method
    │   ├── RequestTooLargeError      413  a body, a list or a text over a limit
    │   └── RetryLaterError           503  a retry helps, after ``retry_after_s``
    │       ├── OverloadedError       429  the queue is full
    │       │   └── KeyLimitError     429  the share or the rate of one API key is used up
    │       ├── NotReadyError         503  starting, stopping, or the canary failed
    │       └── DeadlineExceededError 504  not computed in time
    ├── StoreError                    500
    │   ├── IndexNotFoundError        404
    │   ├── IndexCorruptError         500
    │   ├── FingerprintMismatchError  409  vectors of two models would be mixed
    │   ├── CollectionMismatchError   409  a collection whose schema can't hold our vectors
    │   ├── IndexLockedError          423  another process holds the index; a retry helps
    │   ├── StoreBusyError            429  the database asks to slow down; a retry helps
    │   ├── StoreUnavailableError     503  the database does not answer; a retry helps
    │   └── StorageFullError          507
    ├── ReindexError                  500
    │   ├── PlanError                 400  a plan that can't be made or does not fit
    │   ├── JobLockedError            423  another process works on the job; a retry helps
    │   ├── JobNotFoundError          404
    │   └── QualityGateError          409  the new vectors find too little
    └── ExportError, TrainingError         the roots of the other components
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BundleCorruptError",
    "BundleError",
    "BundleGateError",
    "BundleNotFoundError",
    "BundleSchemaError",
    "CollectionMismatchError",
    "DeadlineExceededError",
    "EngineBusyError",
    "EngineError",
    "EngineOutputError",
    "EngineUnavailableError",
    "FingerprintMismatchError",
    "ForbiddenError",
    "IndexCorruptError",
    "IndexLockedError",
    "IndexNotFoundError",
    "InvalidDimensionError",
    "InvalidInputError",
    "InvalidTextError",
    "JobLockedError",
    "JobNotFoundError",
    "KeyLimitError",
    "LusiferError",
    "MalformedRequestError",
    "MethodNotAllowedError",
    "MissingExtraError",
    "NotReadyError",
    "NotServedError",
    "OverloadedError",
    "PlanError",
    "QualityGateError",
    "ReindexError",
    "RequestTooLargeError",
    "RetryLaterError",
    "ServiceError",
    "SettingsError",
    "StorageFullError",
    "StoreBusyError",
    "StoreError",
    "StoreUnavailableError",
    "TextTooLongError",
    "UnauthorizedError",
    "UnknownModelError",
]


class LusiferError(Exception):
    """Root of the tree.

    Args:
        message: What failed, with the numbers on both sides of the broken comparison.
        next_step: What the reader should do now, as one imperative sentence.
    """

    status: ClassVar[int] = 500
    """HTTP status a service answers with."""
    retryable: ClassVar[bool] = False
    """Whether the same request can succeed later without a change."""

    def __init__(self, message: str, *, next_step: str) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}"

    def as_dict(self) -> dict[str, str | int | bool]:
        """Return the JSON-ready fields ``type, message, next_step, status, retryable``."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "next_step": self.next_step,
            "status": self.status,
            "retryable": self.retryable,
        }


class _RetryAfterError(LusiferError):
    """Holds the time after which a retry makes sense.

    Args:
        message: As in :class:`LusiferError`.
        next_step: As in :class:`LusiferError`.
        retry_after_s: Seconds after which a retry makes sense; services send it as ``Retry-After``.
    """

    retryable = True

    def __init__(self, message: str, *, next_step: str, retry_after_s: float) -> None:
        super().__init__(message, next_step=next_step)
        self.retry_after_s = retry_after_s


class InvalidInputError(LusiferError):
    """The caller's input can't be embedded or indexed."""

    status = 400


class InvalidTextError(InvalidInputError):
    """A text is empty, only white space, or holds NUL bytes or lone surrogates."""


class TextTooLongError(InvalidInputError):
    """A text is over the token limit.

    The policy for long texts is ``error``.
    """


class InvalidDimensionError(InvalidInputError):
    """The requested output dimension is not one the model was trained for."""


class MalformedRequestError(InvalidInputError):
    """A request's body is not JSON, or a field is missing or of the wrong type."""


class MissingExtraError(LusiferError):
    """An optional dependency is not installed; ``next_step`` holds the command."""


class SettingsError(LusiferError):
    """A setting is unknown, has the wrong type, or contradicts another one."""


class UnauthorizedError(LusiferError):
    """An API key is missing or wrong.

    It is the key of the vectorizer service, or that of a database.
    """

    status = 401


class ForbiddenError(LusiferError):
    """A web page, or a name of the service, is not one that may be used."""

    status = 403


class BundleError(LusiferError):
    """A bundle can't be used."""


class BundleNotFoundError(BundleError):
    """There is no bundle at the path."""

    status = 404


class BundleCorruptError(BundleError):
    """A file of the bundle is missing, cut short or changed since export."""


class BundleGateError(BundleError):
    """The bundle failed export's quality gate.

    Its vectors are not those of its model.
    """


class BundleSchemaError(BundleError):
    """The bundle was written by a newer version of LUSIFER."""


class EngineError(LusiferError):
    """The inference engine can't run, or its answer is invalid."""


class EngineOutputError(EngineError):
    """The engine's answer failed a check: count, dimension, finite values or unit norm."""


class EngineBusyError(EngineError):
    """The engine ran out of memory for this batch; smaller or later requests can succeed."""

    status = 503
    retryable = True


class EngineUnavailableError(EngineError):
    """The server that computes the vectors can't be reached or does not answer.

    Smaller batches would not help.
    """

    status = 503
    retryable = True


class ServiceError(LusiferError):
    """The vectorizer service can't take this request."""


class UnknownModelError(ServiceError):
    """The request names a model this service does not serve."""

    status = 404


class NotServedError(ServiceError):
    """The service has no such path."""

    status = 404


class MethodNotAllowedError(ServiceError):
    """The service has this path, but not for this HTTP method."""

    status = 405


class RequestTooLargeError(ServiceError):
    """A body, a list of texts or a text is over a limit of the service.

    The limit is fixed, so that a retry does not help.
    """

    status = 413


class RetryLaterError(_RetryAfterError, ServiceError):
    """The request can succeed later; ``retry_after_s`` says when."""

    status = 503


class OverloadedError(RetryLaterError):
    """The queue holds the largest number of tokens that it may."""

    status = 429


class KeyLimitError(OverloadedError):
    """One API key used up its share of the queue or its tokens per minute; others are served."""


class NotReadyError(RetryLaterError):
    """The service is starting or stopping, or its canary failed."""


class DeadlineExceededError(RetryLaterError):
    """The vectors were not computed in time."""

    status = 504


class StoreError(LusiferError):
    """The vector store can't read or write."""


class IndexNotFoundError(StoreError):
    """There is no index at the path."""

    status = 404


class IndexCorruptError(StoreError):
    """The index's files can't be read.

    They are damaged, or another program wrote them.
    """


class FingerprintMismatchError(StoreError):
    """The index holds vectors of another model; a mixture would give meaningless results."""

    status = 409


class CollectionMismatchError(StoreError):
    """The collection's schema does not fit.

    It has another dimension or distance, no named vectors, or no module.
    """

    status = 409


class IndexLockedError(StoreError):
    """Another process holds the index."""

    status = 423
    retryable = True


class StoreBusyError(_RetryAfterError, StoreError):
    """The database, or the vectorizer behind it, is still busy; ``retry_after_s`` says how long."""

    status = 429


class StoreUnavailableError(StoreError):
    """The database can't be reached, or the connection broke; acknowledged writes are kept."""

    status = 503
    retryable = True


class StorageFullError(StoreError):
    """There is no space left to write.

    Acknowledged writes are kept.
    """

    status = 507


class ReindexError(LusiferError):
    """A re-embedding can't go on."""


class PlanError(ReindexError):
    """A re-embedding can't be planned as requested, or its plan does not fit the data."""

    status = 400


class JobLockedError(ReindexError):
    """Another process works on the same job."""

    status = 423
    retryable = True


class JobNotFoundError(ReindexError):
    """There is no job folder at the path."""

    status = 404


class QualityGateError(ReindexError):
    """The new vectors find too little of what the old ones found; there was no cutover."""

    status = 409
