"""What each choice of a strategy is worth: GigaZoom's Tables I to V, and three more, on any labelled data set.

    ablation = Ablation(AblateOptions("panda:PANDA_Crowd", Path("tables"), networks=("light",)))
    for measurement in ablation.run():
        ...
    write_tables(ablation)

tables   which variants there are
measure  one variant at one image
run      all of it; what is measured stays measured
report   Markdown, CSV, JSON; plots
"""

from __future__ import annotations

from gigacount.ablate.report import write_tables
from gigacount.ablate.run import Ablation
from gigacount.ablate.tables import TABLES

__all__ = ["TABLES", "Ablation", "write_tables"]
