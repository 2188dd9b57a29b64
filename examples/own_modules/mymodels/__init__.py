"""Parts of your own, outside of softpoint: a backbone, an attention, a head and a loss, each a module and a YAML file.

Put the folder of the package on PYTHONPATH, and give the folder with the groups of YAML files by --config-dir; each
part can also be chosen alone:

    export PYTHONPATH=examples/own_modules
    softpoint train --config-dir examples/own_modules \\
        backbone=plain attention=rows head=deep 'loss=[focal_heatmap,visibility]'
    softpoint predict ckpt=RUN/checkpoints/best.ckpt source=IMAGES trust=[mymodels]

A checkpoint may come from anyone, so no command builds modules outside of softpoint that it names. `trust=[mymodels]`
allows the classes that this package and those below it define, and `softpoint.load_predictor(FILE,
trust=("mymodels",))` does in Python. A part of a network must so be a class, not a function that returns one.
"""
