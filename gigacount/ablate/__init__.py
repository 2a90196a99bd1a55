"""What each choice of a strategy is worth: GigaZoom's Tables I to V, and three more, on any labelled data set.

    ablation = Ablation(AblateOptions("panda:PANDA_Crowd", Path("tables"), networks=("light",)))
    for measurement in ablation.run():
        ...
    write_tables(ablation)

variants  which variants of strategies there are
measure   one variant at one image
run       all of it; what is measured stays measured
summary   Markdown, CSV, JSON; plots
"""
