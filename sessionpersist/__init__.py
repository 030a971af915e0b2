"""Where login sessions live, as a setting that staff change in the admin while the site runs."""

from sessionpersist.session.background import background as background

__version__ = "0.3.0"
