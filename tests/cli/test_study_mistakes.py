"""A mistake in a study or in one of its trainings ends in one line before the first training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.studies import Pretence

USUAL = {
    "compare": ["study=heads"],
    "crossval": ["data=mirror_mouse", "folds=3"],
    "curve": ["data=mirror_mouse", "labels=[5]"],
}
MISTAKES = [
    ("compare", ["~study"], "no study is chosen; choose study=OPTION from attention, decoders, heads, losses"),
    ("compare", ["study=head"], "study has no option 'head'; did you mean 'heads'?"),
    ("compare", ["on=[openfield,synthetic]", '+study.variants.z=["data.limit=5"]'], "unknown key 'data.limit'"),
    ("compare", ["on=[]"], "on=[] names no data"),
    ("compare", ["on=openfield", "data=synthetic"], "on=openfield and data=synthetic both name data"),
    ("compare", ["on=7"], "data has no option '7'"),
    ("compare", ["on=synthetics"], "data has no option 'synthetics'; did you mean 'synthetic'?"),
    ("compare", ["on=[synthetic,custom]"], "data.labels has no value"),
    ("compare", ["on=mirror_mouse", "folds=0"], "folds=0: give a whole number, at least 2"),
    ("compare", ["folds=3"], "data=synthetic has no folds"),
    ("compare", ["timing.rounds=-1"], "timing.rounds=-1: give a whole number from 0 on"),
    ("compare", ['+study.variants.z=["los=heatmap_kl"]'], "unknown key 'los'; did you mean 'loss'?"),
    ("compare", ["study=decoders", '+study.variants.z=["head.decode=drak"]'], "no method 'drak' to decode"),
    ("compare", ["study=decoders", '+study.variants.z=["head.windw=3"]'], "did you mean 'head.window'?"),
    ("compare", ["study=losses", "+study.variants.CE='loss=heatmap_js'"], "CE=loss=heatmap_js is no list of overrides"),
    ("compare", ["study=losses", "+study.variants.CE=['loss=heatmap_js']"], "'ce' and 'CE' would both write to ce"),
    ("compare", ["+study.variants.x=['seed=3']"], "seed=3: the study itself decides seed"),
    ("compare", ["epoch=3"], "unknown key 'epoch'"),
    ("crossval", ["data=synthetic"], "data=synthetic has no folds"),
    ("crossval", ["data=mirror_mous"], "data has no option 'mirror_mous'; did you mean 'mirror_mouse'?"),
    ("crossval", ["optimizer.lrr=1"], "unknown key 'optimizer.lrr'; did you mean 'optimizer.lr'?"),
    ("crossval", ["data=custom"], "data.labels has no value"),
    ("crossval", ["seed=3"], "seed=3: the study itself decides seed"),
    ("crossval", ["data.fold=1"], "the study itself decides data.fold"),
    ("crossval", ["folds=1"], "folds=1: give a whole number, at least 2"),
    ("crossval", ["seeds=[]"], "seeds=[]: give a whole number from 0 on, or a list of them as seeds=[0,1]"),
    ("crossval", ["seeds=first"], "seeds=first: give a whole number"),
    ("crossval", ["seeds=[1,0,1]"], "seeds=[1, 0, 1] has 1 more than once"),
    ("crossval", ["foldz=3"], "unknown key 'foldz'; did you mean 'folds'?"),
    ("crossval", ["pages=x"], "did you mean 'page'?"),
    (
        "crossval",
        ["trainer.num_nodes=2"],
        "trainer.num_nodes=2: each node would start all trainings again; train on one",
    ),
    (
        "curve",
        ["labels=null"],
        "no axis: give numbers of training images as labels=[10,",
    ),
    ("curve", ["groups=[1]"], "labels=[5], groups=[1]"),
    ("curve", ["labels=null", "budgets=[1,2]", "minutes=3"], "minutes=3: budgets=[1, 2] sets the duration; leave"),
    ("curve", ['+lines.long=["minutes=9"]'], "minutes=9: the study itself decides minutes; give"),
    ("curve", ["labels=null", "budgets=[0]"], "budgets=[0]: give a whole number from 1 on"),
    ("curve", ["labels=[0,5]"], "labels=[0, 5]: give a whole number from 1 on"),
    ("curve", ["epochs=9"], "epochs=9: the study itself decides epochs; give steps=N or minutes=N"),
    ("curve", ["data.limit=3"], "data.limit=3: the study itself decides data.limit; give labels=[...] or groups"),
    ("curve", ["+lines.semi='[semi=mean_teacher]'"], "lines.semi=[semi=mean_teacher] is no list of overrides"),
    ("curve", ["+lines.semi=[semi=mean_teacher]"], "quote it twice"),
    ("curve", ["+lines.Supervised=['head.window=7']"], "would both write to supervised"),
    ("curve", ["steps=2.5"], "steps=2.5: give a whole number from 1 on"),
    ("curve", ["check_every=0"], "check_every=0: give a whole number from 1 on"),
    ("curve", ["data=synthetic"], "data=synthetic is no set of labeled images"),
    ("curve", ["labelz=[5]"], "unknown key 'labelz'"),
]


@pytest.mark.parametrize(("study", "words", "message"), MISTAKES)
def test_a_mistake_is_one_line_before_any_training(
    start: Callable, pretence: Pretence, tmp_path: Path, study: str, words: list[str], message: str
) -> None:
    keys = {word.split("=")[0] for word in words}
    usual = [word for word in USUAL[study] if word.split("=")[0] not in keys and f"~{word.split('=')[0]}" not in keys]
    code, _, err = start(study, *usual, *(word for word in words if word != "~study"), f"output={tmp_path / 'out'}")
    assert code == 1 and message in err and len(err.splitlines()) == 1 and pretence.trained == []
