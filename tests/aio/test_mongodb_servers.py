"""MONGODB on an event loop where its servers, its names and its logins change: the tests of threads, as coroutines."""

from __future__ import annotations

import pytest

from tests.aio.looping import InALoop
from tests.stores import test_mongodb_login as logins
from tests.stores import test_mongodb_srv as names
from tests.stores import test_replica_set as replica_set
from tests.stores.test_mongodb_login import files, server, user
from tests.stores.test_mongodb_srv import named
from tests.stores.test_replica_set import store, whole

__all__ = ["files", "named", "server", "store", "user", "whole"]  # fixtures


class TestLogins(InALoop, logins.TestExchanged):
    test_of_a_certificate = staticmethod(logins.test_a_certificate_with_its_key_apart)


@pytest.mark.xdist_group("replica_set")
class TestNames(InALoop):
    test_hosts_that_are_found = staticmethod(
        names.test_the_name_server_says_where_it_is_and_where_its_users_are
    )


@pytest.mark.xdist_group("replica_set")
class TestReplicaSet(InALoop):
    test_writes = staticmethod(replica_set.test_every_write_waits_for_a_majority_a_logout_too)
    test_hits_and_misses = staticmethod(
        replica_set.test_a_hit_is_one_plain_read_and_a_miss_is_vouched_for_by_a_majority
    )


@pytest.mark.long
@pytest.mark.xdist_group("replica_set")
class TestFailover(InALoop):
    test_no_majority = staticmethod(replica_set.test_what_no_majority_confirms_in_time_is_an_outage)
    test_first_host_down = staticmethod(
        replica_set.test_while_the_first_host_is_down_a_new_worker_finds_the_others
    )
    test_promoted = staticmethod(
        replica_set.test_a_member_that_was_promoted_is_the_same_place_and_has_what_was_acknowledged
    )
    test_old_primary = staticmethod(replica_set.test_the_old_primary_has_no_say_when_it_comes_back)
