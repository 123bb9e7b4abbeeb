from app.client.answers import Problem
from app.core.mendable import Mendable


class ClientError(Mendable):
    """What was asked for did not come about; its text is one line for a person."""


class NotLoggedIn(ClientError):
    """There is no login for the server, or it has expired."""


class Unreachable(ClientError):
    """No answer came; whether the server has done what it was asked is not known.

    Unless `unsent`; `passing` says that another try may succeed.
    """

    def __init__(self, text: str, *, unsent: bool = False, passing: bool = True) -> None:
        super().__init__(text)
        self.unsent = unsent
        self.passing = passing


class Refused(ClientError):
    """The server answered, and not with success."""

    def __init__(self, status: int, problem: Problem | None, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.problem = problem

    def is_about(self, name: str) -> bool:
        """Whether it is the problem of this name, the last part of its type."""
        return self.problem is not None and self.problem.type.rpartition("/")[2] == name
