"""Domain names in ASCII, as the protocols send them."""


def ascii_domain(domain: str) -> str:
    """The name in its ASCII form (IDNA 2008). Raises `ValueError` if it has none."""
    if domain.isascii():
        return domain
    # Loaded only where it is needed: with IDNA's tables it takes 20 ms.
    from email_validator import validate_email

    # Checks its syntax alone.
    address = validate_email(
        f"postmaster@{domain}", check_deliverability=False, globally_deliverable=False
    )
    return str(address.ascii_domain)
