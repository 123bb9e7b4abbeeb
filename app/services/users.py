from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import EmailTaken
from app.core.security import PasswordHashing
from app.models import User
from app.schemas.user import UserCreate, UserResponse

COLUMNS = (User.id, User.email, User.is_active, User.is_admin, User.created_at)


async def register(
    session: AsyncSession, passwords: PasswordHashing, new: UserCreate
) -> UserResponse:
    """Raises `EmailTaken`."""
    # Before the first statement: no connection is held while it hashes.
    password_hash = await passwords.hash(new.password.get_secret_value())
    statement = (
        insert(User)
        .values(email=new.email, password_hash=password_hash)
        .on_conflict_do_nothing(index_elements=[func.lower(User.email)])
        .returning(*COLUMNS)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise EmailTaken("log in instead, or register another address", field="body.email")
    return UserResponse.model_validate(row, from_attributes=True)


async def find_active(session: AsyncSession, user_id: UUID) -> UserResponse | None:
    statement = select(*COLUMNS).where(User.id == user_id, User.is_active)
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else UserResponse.model_validate(row, from_attributes=True)
