"""The pages beside the form, and the steps that their buttons take."""
