"""REDIS: one Redis or Valkey server."""
