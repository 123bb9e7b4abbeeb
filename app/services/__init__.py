"""Business rules: they raise domain errors, know no HTTP and never commit."""
