from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from app.api.bodies import BoundedRoute
from app.api.deps import (
    BY_LOG_IN,
    FOR_ADMINS,
    ClientNetwork,
    CurrentUser,
    LimitsDep,
    LoggedInUser,
    PageParams,
    PasswordCheckDep,
    PasswordsDep,
    SessionDep,
    SettingsDep,
)
from app.api.openapi import problems
from app.core.errors import (
    EmailTaken,
    Forbidden,
    LastAdmin,
    NotFound,
    TooManyRequests,
    WrongPassword,
)
from app.schemas.page import Page
from app.schemas.user import (
    PasswordChange,
    UserAdministration,
    UserCreate,
    UserDeletion,
    UserFilters,
    UserResponse,
    UserUpdate,
)
from app.services import users

router = APIRouter(prefix="/users", tags=["users"], route_class=BoundedRoute)


async def get_filters(
    email: Annotated[str | None, Query(max_length=320, description="All of it, any case.")] = None,
    is_active: Annotated[bool | None, Query()] = None,
) -> UserFilters:
    return UserFilters(email=email, is_active=is_active)


FiltersDep = Annotated[UserFilters, Depends(get_filters)]


@router.post("", status_code=201, responses=problems(EmailTaken, TooManyRequests))
async def register(
    new: UserCreate,
    session: SessionDep,
    passwords: PasswordsDep,
    limits: LimitsDep,
    settings: SettingsDep,
    address: ClientNetwork,
) -> UserResponse:
    """Register."""
    return await users.register(session, passwords, limits, settings.auth, new, address=address)


@router.get("/me")
async def me(user: CurrentUser) -> UserResponse:
    """The user whom the access token or the API key was issued to."""
    return user


@router.patch("/me", responses=problems(EmailTaken, Forbidden, WrongPassword, TooManyRequests))
async def update_me(
    change: UserUpdate, user: LoggedInUser, check: PasswordCheckDep
) -> UserResponse:
    """Change your name or, with your password, your e-mail address. No API key can do it."""
    return await users.update_own(check, user.id, change)


@router.post(
    "/me/password", status_code=204, responses=problems(Forbidden, WrongPassword, TooManyRequests)
)
async def change_password(
    change: PasswordChange, user: LoggedInUser, check: PasswordCheckDep
) -> None:
    """Change your password. Your other sessions end; API keys stay. No API key can do it."""
    await users.change_password(check, user.id, user.credential, change)


@router.delete(
    "/me",
    status_code=204,
    responses=problems(Forbidden, WrongPassword, LastAdmin, TooManyRequests),
)
async def delete_me(body: UserDeletion, user: LoggedInUser, check: PasswordCheckDep) -> None:
    """Leave: at once nothing of yours opens any more, and your e-mail address is free.

    Your jobs are cancelled, running ones as soon as they notice; when the last has ended, all that
    is yours is removed: jobs, results, files. No API key can do it.
    """
    await users.remove_own(check, user.id, body)


@router.get("", dependencies=[FOR_ADMINS], responses=problems(Forbidden))
async def list_users(
    session: SessionDep, filters: FiltersDep, page: PageParams
) -> Page[UserResponse]:
    """All users, newest first. For admins."""
    return await users.list_page(session, filters, page)


@router.get("/{user_id}", dependencies=[FOR_ADMINS], responses=problems(Forbidden, NotFound))
async def get_user(user_id: UUID, session: SessionDep) -> UserResponse:
    """A user. For admins."""
    return await users.get(session, user_id)


@router.patch(
    "/{user_id}",
    dependencies=[FOR_ADMINS, BY_LOG_IN],
    responses=problems(Forbidden, NotFound, LastAdmin),
)
async def administrate_user(
    user_id: UUID, change: UserAdministration, session: SessionDep
) -> UserResponse:
    """Deactivate a user or let them in again; make or unmake an admin. For admins.

    Deactivated, a user's sessions end at once, their streams within 5 seconds, and their API keys
    open nothing. Jobs that were accepted run on: cancelling them is the owner's.
    No API key can do it.
    """
    return await users.administrate(session, user_id, change)
