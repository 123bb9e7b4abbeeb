"""E-mail addresses, each known in all of its spellings.

They differ by more than case only on paper (RFC 5321, section 2.4). An address is kept as it was
typed, but for what writes one letter in several ways: composed or not (NFC), a domain's encoding
(IDNA), spaces around it, and the case of letters outside ASCII. PostgreSQL's `lower` does not know
those in the C locale, and has other ideas of an I in a Turkish one.
"""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, EmailStr, TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import InstrumentedAttribute

# A run, not a letter: how Greek's sigma is written depends on its place. With a capital before it
# that has an accent of its own, where the two have no letter in common.
BEYOND_ASCII = re.compile(r"(?:[A-Z](?=[\u0300-\u036f]))?[^\x00-\x7f]+")


def _kept(address: str) -> str:
    if address.isascii():
        return address
    composed = unicodedata.normalize("NFC", address)
    lowered = BEYOND_ASCII.sub(lambda letters: letters[0].lower(), composed)
    return unicodedata.normalize("NFC", lowered)


# As pydantic's own normalises it, and then some.
EmailAddress = Annotated[EmailStr, AfterValidator(_kept)]

_ADDRESS: TypeAdapter[str] = TypeAdapter(EmailAddress)


def kept(text: str) -> str:
    """The address as registration keeps it. Text that is not an address matches none."""
    text = text.strip()
    try:
        return _ADDRESS.validate_python(text)
    except ValidationError:
        return _kept(text)


def folded(text: str) -> str:
    """The same for all spellings of an address."""
    return kept(text).lower()


def _raised(text: str) -> str:
    """In capitals, but for letters that have none of their own (a sharp s, a dotless i)."""
    return "".join(
        letter.upper() if letter.upper().lower() == letter else letter for letter in text
    )


def is_address(column: InstrumentedAttribute[str], text: str) -> ColumnElement[bool]:
    """Rows with the address, by an index on `lower(column)`, in a database of any locale.

    Older rows may have capitals that only this database's own `lower` makes of them what it does.
    """
    address = folded(text)
    return func.lower(column).in_(
        [address, func.lower(kept(text)), func.lower(text.strip()), func.lower(_raised(address))]
    )


def nearest(column: InstrumentedAttribute[str], text: str) -> ColumnElement[int]:
    """Orders rows that `is_address` found: the very spelling first, then the same letters."""
    return case(
        (column == text.strip(), 0),
        (func.lower(column) == folded(text), 1),
        else_=2,
    )


def known_spelling(column: InstrumentedAttribute[str], address: str) -> ColumnElement[str]:
    """The address as a row has it already: an insert then meets that row's unique index."""
    known = (
        select(column)
        .where(is_address(column, address))
        .order_by(nearest(column, address))
        .limit(1)
        .scalar_subquery()
    )
    return func.coalesce(known, address)
