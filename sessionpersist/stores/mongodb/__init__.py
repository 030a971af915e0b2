"""MONGODB: a collection of a MongoDB database."""
