from fastapi import APIRouter

from app.api.deps import CurrentUser, PasswordsDep, SessionDep
from app.api.openapi import problems
from app.api.strict import BoundedRoute
from app.core.errors import EmailTaken
from app.schemas.user import UserCreate, UserResponse
from app.services import users

router = APIRouter(prefix="/users", tags=["users"], route_class=BoundedRoute)


@router.post("", status_code=201, responses=problems(EmailTaken))
async def register(new: UserCreate, session: SessionDep, passwords: PasswordsDep) -> UserResponse:
    """Register."""
    return await users.register(session, passwords, new)


@router.get("/me")
async def me(user: CurrentUser) -> UserResponse:
    """The user whom the access token was issued to."""
    return user
