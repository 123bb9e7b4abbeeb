"""Stores e-mail addresses as they were typed, and finds them in all of their spellings.

Only in theory does case make another address (RFC 5321, section 2.4). Spellings of the same letter
are unified before an address is stored: composition (NFC), a domain's encoding (IDNA), spaces
around it, and the case of letters outside ASCII. PostgreSQL's `lower` leaves such letters as they
are in the C locale, and treats an I differently in a Turkish one.
"""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, EmailStr, TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import InstrumentedAttribute

# A run of letters, since the form of Greek's sigma depends on its position. It includes a capital
# before a combining accent, if Unicode has no composed letter for the two.
BEYOND_ASCII = re.compile(r"(?:[A-Z](?=[\u0300-\u036f]))?[^\x00-\x7f]+")


def _kept(address: str) -> str:
    if address.isascii():
        return address
    composed = unicodedata.normalize("NFC", address)
    lowered = BEYOND_ASCII.sub(lambda letters: letters[0].lower(), composed)
    return unicodedata.normalize("NFC", lowered)


# Normalised by Pydantic, then by `_kept`.
EmailAddress = Annotated[EmailStr, AfterValidator(_kept)]

_ADDRESS: TypeAdapter[str] = TypeAdapter(EmailAddress)


def kept(text: str) -> str:
    """The address as registration stores it. Text that is not an address matches no account."""
    text = text.strip()
    try:
        return _ADDRESS.validate_python(text)
    except ValidationError:
        return _kept(text)


def folded(text: str) -> str:
    """The key of an address, which is the same for all of its spellings."""
    return kept(text).lower()


def _raised(text: str) -> str:
    """The text in capitals, except letters without their own capital (sharp s, dotless i)."""
    return "".join(
        letter.upper() if letter.upper().lower() == letter else letter for letter in text
    )


def is_address(column: InstrumentedAttribute[str], text: str) -> ColumnElement[bool]:
    """Match rows with the address, by an index on `lower(column)`, in any locale.

    Older rows may have capitals that this database's `lower` and Python's convert differently.
    """
    address = folded(text)
    return func.lower(column).in_(
        [address, func.lower(kept(text)), func.lower(text.strip()), func.lower(_raised(address))]
    )


def nearest(column: InstrumentedAttribute[str], text: str) -> ColumnElement[int]:
    """Order the rows of `is_address`: the exact spelling first, then the same letters."""
    return case(
        (column == text.strip(), 0),
        (func.lower(column) == folded(text), 1),
        else_=2,
    )


def known_spelling(column: InstrumentedAttribute[str], address: str) -> ColumnElement[str]:
    """The spelling that a row already has, so that an insert violates the unique index."""
    known = (
        select(column)
        .where(is_address(column, address))
        .order_by(nearest(column, address))
        .limit(1)
        .scalar_subquery()
    )
    return func.coalesce(known, address)
