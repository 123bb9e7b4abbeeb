from typing import Annotated

from fastapi import APIRouter, Form

from app.api.deps import PasswordsDep, SessionsDep, SettingsDep
from app.api.openapi import problems
from app.api.strict import BoundedRoute
from app.core.errors import InvalidCredentials
from app.schemas.auth import LoginForm, TokenResponse
from app.services import auth

router = APIRouter(prefix="/auth", tags=["auth"], route_class=BoundedRoute)


@router.post("/login", responses=problems(InvalidCredentials))
async def login(
    form: Annotated[LoginForm, Form()],
    sessions: SessionsDep,
    passwords: PasswordsDep,
    settings: SettingsDep,
) -> TokenResponse:
    """Exchange an e-mail address and a password for an access token."""
    return await auth.login(sessions, passwords, settings.auth, form)
