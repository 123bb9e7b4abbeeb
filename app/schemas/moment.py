"""Moments that clients name."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("beyond the end of time") from None


Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
