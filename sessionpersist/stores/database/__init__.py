"""JDBC: a table in one of the databases of the project."""
