from loadtests._answers import User
from loadtests._scenario import Scenario, journey


class LogIn(Scenario):
    """Log in, look who one is, go on with the session, log out."""

    @journey("auth")
    def log_in_and_out(self) -> None:
        self.api.log_in(self.account)
        self.look()
        self.api.refresh()
        self.look()
        self.api.log_out()

    def look(self) -> None:
        with self.api.ask("GET", "/users/me", headers=self.bearer) as answer:
            answer.require(answer.read(User).email == self.account.email, "another user")
