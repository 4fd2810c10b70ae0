"""Where large mails lie, if not in a folder."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from config.checks import Seconds, Section, Text, WebUrl
from config.secrets import Secret


class Bucket(Section):
    """A bucket of an S3-compatible store, for large raw mails."""

    endpoint: WebUrl
    """Address of the store; the bucket's name becomes a part of the path."""
    name: Annotated[Text, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """Name of the bucket."""
    prefix: Annotated[str, Field(pattern=r"^([A-Za-z0-9._-]+/)*$", max_length=200)] = ""
    """What the names of all objects begin with, such as `ingestd/`."""
    region: Text = "us-east-1"
    """Region, as the store names it; signatures cover it."""
    access_key_id: Secret
    """Id of the access key."""
    secret_access_key: Secret
    """The access key's secret."""
    timeout_seconds: Seconds = 60.0
    """A request that takes longer is ended."""
    retries_max: Annotated[int, Field(ge=0, le=20)] = 4
    """How often a request that failed is made again at once; then the store counts as away."""
