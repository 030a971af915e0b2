"""A test of a run that begins in the database."""

from django.test import SimpleTestCase

from sessionpersist.handover import routing


class StoreTests(SimpleTestCase):
    def test_store_is_that_of_the_run(self) -> None:
        assert routing.current_settings().describe() == "JDBC, database “default”"
