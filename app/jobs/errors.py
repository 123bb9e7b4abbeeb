"""What a job kind raises, and what its context raises into it."""


class JobError(Exception):
    """The job failed and a further try would fail the same way: a broken file, a refused input.

    `code` is a stable identifier in kebab-case that clients may branch on (`image-too-large`), at
    most 64 characters; other text is converted to one. `detail` is one sentence for a person that
    says what is wrong and what would be right; it is cut at 2,000 characters.
    """

    retryable = False

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class RetryableJobError(JobError):
    """The job failed for a reason that may pass: it is tried again until its tries are spent.

    Any exception that is not a `JobError` counts as one of these, with the code `internal-error`:
    `SystemExit` and `KeyboardInterrupt` too.
    """

    retryable = True


class JobInterrupted(BaseException):
    """Raised out of the context's calls when the attempt is over; a kind lets it pass.

    A `BaseException`, so that a kind's own `except Exception` does not swallow it.
    """


class JobCancelled(JobInterrupted):
    """Somebody asked for the job to be cancelled."""


class LeaseLost(JobInterrupted):
    """This attempt no longer holds the job: whatever it has must be dropped."""


class JobTimedOut(JobInterrupted):
    """The attempt has used up its kind's timeout."""
