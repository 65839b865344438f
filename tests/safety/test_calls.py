"""No module of the package makes a call that could run what it reads; read from the source, so that none is missed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# Processes of one run exchange what they work on over pipes and sockets of their own, never by files.
_MAY_PICKLE = {"lit/parcels.py"}
_PRINTS = {"shown.py"}
_MODULES = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal", "jsonpickle", "telnetlib"}
_KEYWORDS = {  # by the end of what is called: a keyword that must be given, and the values that it may have
    "torch.load": ("weights_only", {"True"}),
    "np.load": ("allow_pickle", {"False"}),
    "numpy.load": ("allow_pickle", {"False"}),
    "from_pretrained": ("trust_remote_code", {"False", "trust_remote_code", "settings.trust_remote_code"}),
    "LLM": ("trust_remote_code", {"False", "loaded.trusts_code"}),
}
_NEVER = {
    "eval", "exec", "compile", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all",
    "load_from_checkpoint", "extractall", "mktemp", "tempfile.mktemp", "__import__",
}  # fmt: skip
_SAFE_LOADERS = ("_FastLoader", "getattr(yaml, 'CSafeLoader', yaml.SafeLoader)")


def unsafe(name: str, source: str) -> Iterator[str]:
    """What a module does that none may."""
    for node in ast.walk(ast.parse(source)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            if module.split(".")[0] in _MODULES and name not in _MAY_PICKLE:
                yield f"{name}: imports {module}"
        if isinstance(node, ast.Call):
            yield from (f"{name}:{node.lineno}: {found}" for found in _of_call(name, node))


def _of_call(name: str, call: ast.Call) -> Iterator[str]:
    called = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    for end, (keyword, allowed) in _KEYWORDS.items():
        if (called == end or called.endswith(f".{end}")) and given.get(keyword) not in allowed:
            yield f"{called} without {keyword}={' or '.join(sorted(allowed))}"
    if called in _NEVER or called.split(".")[-1] in {"read_pickle", "load_from_checkpoint", "extractall"}:
        yield f"calls {called}"
    if called == "yaml.load" and (len(call.args) < 2 or ast.unparse(call.args[1]) not in _SAFE_LOADERS):
        yield "yaml.load without a safe loader"
    if given.get("shell", "False") != "False":
        yield f"{called} by a shell"
    if given.get("verify") == "False":
        yield f"{called} without checking the server"
    if called == "print" and name not in _PRINTS:
        yield "print instead of bridgex.shown.say"
    if called in ("Console", "rich.console.Console"):
        yield "rich's own Console instead of SafeConsole"
    if called == "Html" and name != "report/markup.py" and call.args and not isinstance(call.args[0], ast.Constant):
        yield "makes markup of a text"


def test_no_module_does(repository: Path) -> None:
    package = repository / "bridgex"
    paths = sorted(package.rglob("*.py"))
    assert len(paths) > 150
    found = [
        line
        for path in paths
        for line in unsafe(path.relative_to(package).as_posix(), path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\nx = torch.load('a')",
        "x = torch.load('a', weights_only=False)",
        "x = np.load('a', allow_pickle=True)",
        "x = np.load('a')",
        "m = AutoModel.from_pretrained('a')",
        "m = AutoModel.from_pretrained('a', trust_remote_code=True)",
        "m = vllm.LLM('a', trust_remote_code=True)",
        "x = yaml.load(text)",
        "x = yaml.load(text, yaml.Loader)",
        "x = yaml.unsafe_load(text)",
        "eval(text)",
        "exec(text)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "archive.extractall(place)",
        "Model.load_from_checkpoint(path)",
        "pandas.read_pickle(path)",
        "client = httpx.Client(verify=False)",
        "print(name)",
        "console = Console()",
        "page = Html(f'<b>{name}</b>')",
        "page = Html(name)",
    ],
)
def test_it_would_be_found(source: str) -> None:
    assert len(list(unsafe("a.py", source))) == 1


def test_what_is_safe_is_not() -> None:
    source = """
import json
torch.load(path, map_location="cpu", weights_only=True)
np.load(file, allow_pickle=False)
AutoModel.from_pretrained(folder, trust_remote_code=settings.trust_remote_code)
yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
model.eval()
subprocess.run(["ls"])
console = SafeConsole()
Html("<br>")
"""
    assert list(unsafe("a.py", source)) == []
