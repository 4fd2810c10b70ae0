"""The figures, in the order in which they are measured: the short ones first."""

from __future__ import annotations

from bench.figures import (
    committing,
    delivering,
    disconnecting,
    enqueuing,
    fetching,
    filling,
    gmail,
    graph,
    growing,
    holding,
    ingesting,
    listing,
    parsing,
    reading,
    seeding,
    sending,
    starting,
    streaming,
    transforming,
    verifying,
)
from bench.harness import Figure

FIGURES: tuple[Figure, ...] = (
    *parsing.FIGURES,
    *transforming.FIGURES,
    *starting.FIGURES,
    *fetching.FIGURES,
    *gmail.FIGURES,
    *graph.FIGURES,
    *ingesting.FIGURES,
    *filling.FIGURES,
    *holding.FIGURES,
    *committing.FIGURES,
    *sending.FIGURES,
    *enqueuing.FIGURES,
    *delivering.FIGURES,
    *streaming.FIGURES,
    *verifying.FIGURES,
    *seeding.FIGURES,
    *reading.FIGURES,
    *growing.FIGURES,
    *listing.FIGURES,
    *disconnecting.FIGURES,
)
