"""The figures, in the order in which they are measured: the short ones first."""

from __future__ import annotations

from bench.figures import (
    committing,
    delivering,
    enqueuing,
    failing,
    fairness,
    fetching,
    gmail,
    graph,
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
    waiting,
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
    *committing.FIGURES,
    *sending.FIGURES,
    *enqueuing.FIGURES,
    *delivering.FIGURES,
    *streaming.FIGURES,
    *verifying.FIGURES,
    *waiting.FIGURES,
    *failing.FIGURES,
    *fairness.FIGURES,
    *seeding.FIGURES,
    *reading.FIGURES,
    *listing.FIGURES,
)
