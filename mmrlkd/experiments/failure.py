"""What stops an experiment."""


class ExperimentFailed(Exception):
    """A sentence that says what went wrong."""
