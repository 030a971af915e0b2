"""Run by ``python -O``: what the engine answers where assertions are left out, as JSON."""

from __future__ import annotations

import json
import sys

import django


def main() -> None:
    django.setup()
    from sessionpersist.testing import override_login_configuration
    from tests.engine.test_beside_django import answers

    with override_login_configuration(persistence_type="IN_MEMORY"):
        sys.stdout.write(json.dumps({"assertions": __debug__, **answers()}))


if __name__ == "__main__":
    main()
