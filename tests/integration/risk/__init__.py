"""The risk lab against PostgreSQL."""
