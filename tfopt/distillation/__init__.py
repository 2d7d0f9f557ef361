"""A student learns from a teacher while it trains."""
