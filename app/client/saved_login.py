"""The login that `heavylift login` has saved: refreshed by whichever command finds it expired."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from app.client.answers import RefreshToken, Token
from app.client.authentication import Nobody
from app.client.connection import Connection
from app.client.credentials import CredentialFile, Credentials, Login
from app.client.errors import NotLoggedIn, Refused

# A request must get there before its token expires.
MARGIN = timedelta(seconds=30)


class SavedLogin:
    """An `Authentication`. Its methods raise `ClientError`."""

    def __init__(self, file: CredentialFile, url: str) -> None:
        self._file = file
        self._url = url
        self._sent: str | None = None

    async def headers(self) -> Mapping[str, str]:
        login = self._login(self._file.read())
        if login.refresh_token is not None and login.expires_at - MARGIN < datetime.now(UTC):
            login = await self._refreshed(login)
        self._sent = login.access_token
        return {"Authorization": f"Bearer {login.access_token}"}

    async def renew(self) -> bool:
        login = self._login(self._file.read())
        if login.access_token == self._sent and login.refresh_token is not None:
            login = await self._refreshed(login)
        return login.access_token != self._sent

    def mend(self, url: str) -> str:
        return f"the login at {url} has expired: run `heavylift login`"

    def _login(self, credentials: Credentials) -> Login:
        login = credentials.logins.get(self._url)
        if login is None:
            raise NotLoggedIn(f"not logged in at {self._url}: run `heavylift login`")
        return login

    async def _refreshed(self, expired: Login) -> Login:
        """A refresh token is good for one use: of several commands, one uses it and all go on."""
        async with self._file.locked():
            credentials = self._file.read()
            login = self._login(credentials)
            if login.access_token != expired.access_token or login.refresh_token is None:
                return login
            login = Login.of(login.email, await self._refresh(login.refresh_token))
            credentials.logins[self._url] = login
            self._file.write(credentials)
            return login

    async def _refresh(self, token: str) -> Token:
        async with Connection(self._url, Nobody()) as connection:
            try:
                # Sent again after a lost answer: the server has the same successor for it.
                response = await connection.ask(
                    "POST", "/auth/refresh", sent=RefreshToken(refresh_token=token)
                )
            except (NotLoggedIn, Refused) as error:
                if isinstance(error, Refused) and error.status >= 500:
                    raise
                raise NotLoggedIn(self.mend(self._url)) from None
            return connection.read(Token, response.content)
