"""REDIS: Redis or Valkey, on one server, behind Sentinels or as a Cluster."""
