"""``python -m project.healthy``: whether the node of this container answers, for the health check of a container.

It asks with a host that the site allows, and ends with 1 where the answer is none, or an error.
"""

import os
import sys
import urllib.error
import urllib.request

URL = "http://127.0.0.1:8000/health/live/"
SECONDS = 3.0


def main(url: str = URL) -> int:
    host = os.environ.get("ALLOWED_HOSTS", "localhost").partition(",")[0]
    request = urllib.request.Request(url, headers={"Host": host})  # noqa: S310 - an address of our own
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):  # noqa: S310
            return 0
    except (urllib.error.URLError, TimeoutError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
