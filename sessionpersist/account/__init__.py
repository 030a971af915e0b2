"""What users see of their sessions: the login form, the warning before a session ends, where they are logged in."""
