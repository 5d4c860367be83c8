"""The rules of the source tree that no linter knows: who imports whom, what ships, how large a function may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = ("rum", "e2e", "tests")
SOURCES = sorted(path for package in PACKAGES for path in (CHECKOUT / package).rglob("*.py"))
SHIPPED = [
    CHECKOUT / "rum/__init__.py",
    *sorted((CHECKOUT / "rum").glob("protocol/*.py")),
    *sorted((CHECKOUT / "rum").glob("agent/*.py")),
    *sorted((CHECKOUT / "rum").glob("transfer/*.py")),
]

ONLY_IN = {
    "libvirt": ["rum/host/vm/libvirt_driver.py"],
    "pydantic": ["rum/host/config/*.py"],
    "pydantic_core": ["rum/host/config/*.py"],
    "pycdlib": ["rum/cloudinit/iso.py"],
    "click": ["rum/host/cli/*.py"],
    "rich": ["rum/host/**/*.py"],
    "platformdirs": ["rum/host/**/*.py"],
    "msgspec": ["rum/host/**/*.py"],
}

BROAD_IN = {"rum/agent/loop.py": 1, "rum/host/cli/main.py": 1}

FACADE = "rum.host"


def name_of(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_of(path: Path) -> Iterator[str]:
    """Every module that the file imports, also inside functions; `from a import b` counts as a and as a.b."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} has a relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def below(*folders: str) -> list[Path]:
    return [path for path in SOURCES if any(name_of(path).startswith(folder) for folder in folders)]


def foreign(path: Path, *allowed: str) -> list[str]:
    """What the file imports beyond the standard library and the allowed packages."""
    return [
        module
        for module in imports_of(path)
        if module.split(".")[0] not in sys.stdlib_module_names and not any(inside(module, name) for name in allowed)
    ]


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        ("rum/protocol/", ["rum.protocol"]),
        ("rum/agent/", ["rum.protocol", "rum.agent", "rum.__version__"]),
        ("rum/transfer/", ["rum.protocol", "rum.transfer"]),
        ("rum/cloudinit/", ["rum.cloudinit", "pycdlib"]),
    ],
)
def test_what_a_package_may_import(folder: str, allowed: list[str]) -> None:
    files = below(folder)
    assert files
    wrong = {name_of(path): [module for module in foreign(path, *allowed) if module != "rum"] for path in files}
    assert {name: modules for name, modules in wrong.items() if modules} == {}


def test_only_the_agent_takes_something_from_the_root() -> None:
    """`from rum import __version__` and nothing else: whatever else the root held would ship to the guest."""
    for path in below("rum/"):
        taken = {module for module in imports_of(path) if inside(module, "rum") and module.count(".") == 1}
        packages = {f"rum.{package}" for package in ("protocol", "agent", "transfer", "cloudinit", "host")}
        assert taken - packages <= {"rum.__version__"}, name_of(path)


def test_nothing_imports_the_agent_but_itself_and_its_tests() -> None:
    outside = [
        path for path in SOURCES if not name_of(path).startswith(("rum/agent/", "tests/unit/agent/", "tests/fuzz/"))
    ]
    assert [name_of(path) for path in outside if any(inside(module, "rum.agent") for module in imports_of(path))] == []


def test_the_end_to_end_tests_use_the_facade_only() -> None:
    for path in below("e2e/"):
        modules = {module for module in imports_of(path) if inside(module, "rum")}
        deeper = {module for module in modules if module.startswith(FACADE + ".") and module.count(".") > 2}
        assert deeper == set(), name_of(path)
        direct = {module for module in modules if module.count(".") == 2}
        submodules = {f"{FACADE}.{entry.stem}" for entry in (CHECKOUT / "rum/host").iterdir()}
        assert direct & submodules == set(), name_of(path)
        assert not any(
            inside(module, other) for module in modules for other in ("rum.agent", "rum.transfer", "rum.cloudinit")
        )


@pytest.mark.parametrize("package", ONLY_IN)
def test_where_a_dependency_may_be_imported(package: str) -> None:
    users = [path for path in below("rum/") if any(inside(module, package) for module in imports_of(path))]
    allowed = [path for pattern in ONLY_IN[package] for path in CHECKOUT.glob(pattern)]
    assert [name_of(path) for path in users if path not in allowed] == []


def test_the_root_is_inert() -> None:
    docstring, version = tree_of(CHECKOUT / "rum/__init__.py").body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(version, ast.Assign)
    assert [ast.unparse(target) for target in version.targets] == ["__version__"]


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_what_ships_is_python_3_9(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_the_agent_needs_no_site_packages() -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]); import rum.agent.__main__"
    subprocess.run([sys.executable, "-I", "-S", "-W", "error", "-c", program, str(CHECKOUT)], check=True, timeout=60)


MAKES_DURABLE = {"fsync", "fdatasync", "replace", "rename", "ftruncate", "truncate", "sync"}


def test_one_module_of_the_agent_makes_things_durable() -> None:
    """Crashes are played after every step of that module: what went around it would not be tested."""
    calls = [
        f"{name_of(path)}: {ast.unparse(node)}"
        for path in below("rum/agent/")
        if path.name != "durable.py"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id == "shutil" or (node.value.id == "os" and node.attr in MAKES_DURABLE))
    ]
    # All disks at once, at the start of a first boot: not a step that could be half done.
    assert calls == ["rum/agent/recovery.py: os.sync"]


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in below("rum/", "e2e/")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > 60
    ]
    assert long == []


def test_no_module_is_longer_than_400_lines() -> None:
    sizes = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in below("rum/", "e2e/")}
    assert {name: size for name, size in sizes.items() if size > 400} == {}


def swallows_everything(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything, alone or in a tuple, and does not pass it on when it has cleaned up."""
    last = handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(item, ast.Name) and item.id in ("Exception", "BaseException") for item in caught)


def test_everything_is_swallowed_in_two_places_only() -> None:
    counts = {
        name_of(path): sum(
            isinstance(node, ast.ExceptHandler) and swallows_everything(node) for node in ast.walk(tree_of(path))
        )
        for path in below("rum/", "e2e/")
    }
    found = {name: count for name, count in counts.items() if count}
    assert found.items() <= BROAD_IN.items()
