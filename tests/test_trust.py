"""Nothing in the source could run a stranger's code, and what reads their files does so in its safe form."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "src/softpoint").rglob("*.py"), *(ROOT / "scripts").glob("*.py")])

# Modules that bring a stranger's objects to life. One file subclasses the unpickler, so that it makes text alone.
PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
PLAIN = "src/softpoint/labels/formats/dlc_h5.py"

FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "read_pickle", "to_pickle", "read_hdf", "unsafe_load", "full_load",
    "getoutput", "getstatusoutput", "popen", "system", "unpickle", "add_safe_globals", "import_string",
}  # fmt: skip


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in SOURCES:
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def calls(tree: ast.AST) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Each call as the name called, all before its last point, and its keywords as source."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            owner, _, name = ast.unparse(node.func).rpartition(".")
            yield name, owner, {keyword.arg or "**": ast.unparse(keyword.value) for keyword in node.keywords}


def imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def unsafe(tree: ast.AST) -> list[str]:
    """The calls that would build whatever a file says."""
    found = []
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    loaders = {"yaml.BaseLoader", "yaml.SafeLoader"}
    loaders |= {node.name for node in classes if loaders.issuperset(_bases(node)) and node.bases}
    for name, owner, keywords in calls(tree):
        # A network's own `eval()` and `compile()`, and `re.compile`, are no such thing: those have an owner.
        if name in FORBIDDEN and not (owner and name in ("eval", "compile")):
            found.append(f"{owner}.{name}")
        if name == "load" and owner == "torch" and keywords.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if name in ("fit", "test", "validate", "predict", "load_from_checkpoint") and "ckpt_path" in keywords:
            found += [] if keywords.get("weights_only") == "True" else [f"{name} without weights_only=True"]
        if name == "load" and owner in ("np", "numpy", "joblib", "torch.jit", "torch.package"):
            found.append(f"{owner}.load")
        if name == "load" and owner == "yaml" and keywords.get("Loader") not in loaders:
            found.append("yaml.load")
        if keywords.get("allow_pickle", "False") != "False" or keywords.get("shell", "False") != "False":
            found.append(f"{name} with allow_pickle or shell")
        if owner == "pickle" or name == "Unpickler":
            found.append(f"{owner}.{name}")
    return found


def test_no_source_can_build_what_a_file_asks_for() -> None:
    assert {name: wrong for name, tree in trees() if (wrong := unsafe(tree))} == {}


def instantiated(tree: ast.AST) -> Iterator[str]:
    """What Hydra instantiates that is neither the parameter `cfg` of a command nor composed from its overrides."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        nodes = list(ast.walk(function))
        stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        of_command = {arg.arg for arg in function.args.args if arg.arg == "cfg"} - stored
        for node in nodes:
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "instantiate":
                argument = ast.unparse(node.args[0])
                if argument.split(".")[0] not in of_command and not argument.startswith("composed("):
                    yield argument


def test_only_configs_of_the_command_line_are_instantiated() -> None:
    found = {name: arguments for name, tree in trees() if (arguments := list(instantiated(tree)))}
    # The package's own files of public data sets and weights.
    files = {"src/softpoint/cli/fetch.py": ["OmegaConf.load(path)"], "src/softpoint/cli/first_weights.py": ["recipe"]}
    assert found == files
    code = "def step_of(checkpoint):\n    cfg = checkpoint.config\n    instantiate(cfg.loss)"
    assert list(instantiated(ast.parse(code))) == ["cfg.loss"]


def test_no_source_opens_pickles_but_the_one_that_reads_text_from_them() -> None:
    assert {name for name, tree in trees() if imported(tree) & PICKLES} == {PLAIN}
    tree = ast.parse((ROOT / PLAIN).read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _owner(node) == "pickle"}
    kinds = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and "pickle.Unpickler" in _bases(node)]
    assert used <= {"Unpickler", "UnpicklingError"} and len(kinds) == 1
    (find,) = [node for node in kinds[0].body if isinstance(node, ast.FunctionDef) and node.name == "find_class"]
    assert isinstance(find.body[-1], ast.Raise)


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "trainer.fit(module, ckpt_path=path)",
        "np.load(path)",
        "pickle.load(file)",
        "pd.read_pickle(path)",
        "yaml.load(text, Loader=yaml.Loader)",
        "class Any(yaml.Loader):\n  pass\nyaml.load(text, Loader=Any)",
        "eval(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_check_finds_unsafe_calls(code: str) -> None:
    assert unsafe(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "net.eval()",
        "torch.load(p, weights_only=True)",
        "yaml.load(t, Loader=yaml.BaseLoader)",
        "class Plain(yaml.SafeLoader):\n  pass\nyaml.load(t, Loader=Plain)",
        "re.compile(p)",
    ],
)
def test_the_check_passes_safe_calls(code: str) -> None:
    assert not unsafe(ast.parse(code))


def _owner(node: ast.Attribute) -> str:
    return ast.unparse(node.value)


def _bases(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(base) for base in node.bases]
