"""Errors of jobs on Kubernetes; what is not here is a `ConfigError` (2) or an `EndpointError` (4).

PipelineError
  +-- JobFailedError     1   the job failed, was deleted, or cannot start
  +-- JobTimeoutError  124   the job had not ended when the time was over; it goes on
EndpointError
  +-- UnreachableError   4   the API server did not answer, or not now; asking again may help
"""

from align2llava.pipeline.errors import EndpointError, PipelineError


class JobFailedError(PipelineError):
    """The job failed, was deleted while it was watched, or has a pod that cannot start."""

    exit_code = 1


class JobTimeoutError(PipelineError):
    """The job had not ended within the time given; nothing was done to it."""

    exit_code = 124


class UnreachableError(EndpointError):
    """The API server did not answer, or said that it cannot just now."""
