"""Domain errors. Services raise them; `app.api.problems` alone makes RFC 9457 problems of them."""

from typing import ClassVar


class DomainError(Exception):
    """Base of all that a client may be told.

    `type` is the stable last part of the problem's type URI, `status` the HTTP status that fits,
    `field` the pointer to the field at fault (`body.renditions.0.width`), where there is one.
    """

    type: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class NotFound(DomainError):
    type, title, status = "not-found", "There is no such thing, or it is not yours", 404


class Unauthorized(DomainError):
    type, title, status = "unauthorized", "A valid access token or API key is needed", 401


class InvalidCredentials(DomainError):
    type, title, status = "invalid-credentials", "E-mail address or password is wrong", 401


class InvalidRefreshToken(DomainError):
    type, title, status = "invalid-refresh-token", "The refresh token opens no session", 401


class WrongPassword(DomainError):
    type, title, status = "wrong-password", "The current password is another one", 403


class Forbidden(DomainError):
    type, title, status = "forbidden", "You may not do this", 403


class LastAdmin(DomainError):
    type, title, status = "last-admin", "Somebody has to be an active admin", 409


class TooManyRequests(DomainError):
    type, title, status = "too-many-requests", "That was too often for now", 429

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"try again in {retry_after} seconds")
        self.retry_after = retry_after


class EmailTaken(DomainError):
    type, title, status = "email-taken", "The e-mail address is registered already", 409


class FileTooLarge(DomainError):
    type, title, status = "file-too-large", "The file is over the limit", 413


class UnsupportedMediaType(DomainError):
    type, title, status = "unsupported-media-type", "The body's content type is not supported", 415

    def __init__(self, wanted: str) -> None:
        super().__init__(f"send the body with Content-Type: {wanted}")
        self.wanted = wanted


class UploadIncomplete(DomainError):
    type, title, status = "upload-incomplete", "The body is not as long as it was to be", 400


class UploadTooSlow(DomainError):
    type, title, status = "upload-too-slow", "The upload took too long and was given up", 408


class FileInUse(DomainError):
    type, title, status = "file-in-use", "An unfinished job needs the file", 409


class RangeNotSatisfiable(DomainError):
    type, title, status = "range-not-satisfiable", "The file has no such bytes", 416

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes")
        self.size = size


class Gone(DomainError):
    type, title, status = "gone", "It has expired", 410


class UnknownKind(DomainError):
    type, title, status = "unknown-job-kind", "There is no such job kind", 404


class InvalidInput(DomainError):
    type, title, status = "invalid-input", "The request does not fit the contract", 422


class PreconditionFailed(DomainError):
    type, title, status = "precondition-failed", "It is not the version that was asked for", 412


class IdempotencyConflict(DomainError):
    type, title, status = "idempotency-key-reused", "The key stands for another request", 422


class JobNotFinished(DomainError):
    type, title, status = "job-not-finished", "The job has no result yet", 409


class JobHasNoResult(DomainError):
    type, title, status = "job-has-no-result", "The job did not succeed", 409


class ResultTooLarge(DomainError):
    type, title, status = "result-too-large", "The result is over the limit", 409


class ResultUnreadable(DomainError):
    type, title, status = "result-unreadable", "The result does not fit its kind's contract", 409


class InvalidLink(DomainError):
    type, title, status = "invalid-link", "The link is not good, or no longer", 422


class MailNotConfigured(DomainError):
    type, title, status = "mail-not-configured", "This server is not set up to send mail", 503


class Unavailable(DomainError):
    type, title, status = "unavailable", "A part of the service is away for the moment", 503
