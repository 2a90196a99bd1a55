"""What each choice of a strategy is worth: GigaZoom's Tables I to V, and two more, on any data set with truth.

    ablation = Ablation(AblateOptions("panda:PANDA_Crowd", Path("tables"), networks=("light",)))
    for measurement in ablation.run():
        ...
    write_tables(ablation)

tables   which rows there are
looks    looks that rows share
measure  one row at one picture
records  what is measured stays measured
run      all of it
report   Markdown, CSV, JSON; plots
"""

from __future__ import annotations

from gigacount.ablate.options import AblateOptions
from gigacount.ablate.report import write_tables
from gigacount.ablate.run import Ablation, Cell
from gigacount.ablate.tables import TABLES, Method

__all__ = ["TABLES", "AblateOptions", "Ablation", "Cell", "Method", "write_tables"]
