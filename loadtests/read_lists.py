from urllib.parse import quote

from loadtests._answers import Job, Kinds, Page, User, newest_first
from loadtests._scenario import Scenario, journey
from loadtests._session import Account

PAGE = 10


class ReadLists(Scenario):
    """An admin looks at users, and at what has become of jobs.

    Lists of jobs are the asker's own: the API has none of everybody's.
    """

    for_admins = True

    @property
    def account(self) -> Account:
        email, password = self.settings.admin_email, self.settings.admin_password
        assert email is not None  # noqa: S101 # it runs with an admin only
        assert password is not None  # noqa: S101
        return Account(email, password.get_secret_value())

    @journey("admin", "read")
    def read_lists(self) -> None:
        with self.api.ask("GET", "/users", query=f"?limit={PAGE}", headers=self.bearer) as answer:
            users = answer.read(Page[User])
            answer.require(bool(users.items), "no users")
            answer.require(newest_first(users.items), "not newest first")
        if users.next_cursor is not None:
            query = f"?limit={PAGE}&cursor={users.next_cursor}"
            with self.api.ask("GET", "/users", query=query, headers=self.bearer) as answer:
                seen = {user.id for user in users.items}
                more = {user.id for user in answer.read(Page[User]).items}
                answer.require(not seen & more, "a user on two pages")
        somebody = users.items[-1]
        with self.api.ask(
            "GET", "/users/{user_id}", headers=self.bearer, user_id=somebody.id
        ) as answer:
            answer.require(answer.read(User).email == somebody.email, "another user")
        query = f"?email={quote(self.account.email)}"
        with self.api.ask("GET", "/users", query=query, headers=self.bearer) as answer:
            found = answer.read(Page[User]).items
            answer.require([user.email for user in found] == [self.account.email], "not the admin")
            answer.require(all(user.is_admin for user in found), "no admin")
        with self.api.ask("GET", "/jobs", query="?dead_letter=true", headers=self.bearer) as answer:
            dead = answer.read(Page[Job]).items
            answer.require(all(job.dead_letter for job in dead), "a job that is no dead letter")
        with self.api.ask(
            "GET", "/jobs", query="?state=failed&state=cancelled", headers=self.bearer
        ) as answer:
            states = {job.state for job in answer.read(Page[Job]).items}
            answer.require(states <= {"failed", "cancelled"}, "a job of another state")
        with self.api.ask("GET", "/jobs/kinds", headers=self.bearer) as answer:
            answer.require(bool(answer.read(Kinds).items), "no job kinds")
