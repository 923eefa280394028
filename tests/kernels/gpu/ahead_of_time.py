"""Compiles what the launchers launch for GPUs that aren't here, and says what the kernels take of them.

A driver that only knows its architecture stands in for the real one, and launching a kernel compiles it with the
arguments it would have been launched with, so tiles and divisibility are those of a real call. Tensors of a case may
lie on the device "meta": nothing reads them.

As a script it prints a line of JSON for each kernel of each case; with ``--pin`` it also writes them to budgets.json:

    python tests/kernels/gpu/ahead_of_time.py cases_pointwise --pin
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BUDGETS = HERE / "budgets.json"
ARCHITECTURES = (80, 90)
PINNED_WITH = "3.9"  # release of Triton; another one's compiler hands out registers and shared memory otherwise
SHARED_CEILINGS = {80: 166_912, 90: 232_448}
MATRIX_INSTRUCTIONS = {"wgmma": "wgmma.mma_async", "mma.sync": "mma.sync"}


@dataclass(frozen=True, slots=True)
class Case:
    """A call of launchers whose kernels are compiled.

    Args:
        name: of the shape and dtype, such as "bf16-d128-causal".
        call: calls launchers, on tensors of the CPU or the device "meta".
        spill_ceiling: bytes a thread may keep in memory for want of registers.
        architectures: compiled for.
        often: compiled whenever tests run; else with those that are slow, because other cases are much the same.
    """

    name: str
    call: Callable[[], object]
    spill_ceiling: int = 0
    architectures: tuple[int, ...] = ARCHITECTURES
    often: bool = True


@dataclass(frozen=True, slots=True)
class Usage:
    """What a kernel takes: registers and spilled bytes a thread, shared bytes a program, matrix instructions."""

    registers: int
    spilled: int
    shared: int
    mma: str


def measure(compiled: Any) -> Usage:
    """Return what ``compiled``, a kernel out of Triton's compiler, takes."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [_tool("cuobjdump"), "-res-usage", file.name]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(rf"Function {re.escape(compiled.metadata.name)}:\s*REG:(\d+) STACK:(\d+)", listing)
    if found is None:
        raise RuntimeError(f"cuobjdump doesn't list {compiled.metadata.name}: {listing}")
    present = [name for name, instruction in MATRIX_INSTRUCTIONS.items() if instruction in compiled.asm["ptx"]]
    return Usage(int(found[1]), int(found[2]), compiled.metadata.shared, "+".join(present))


def measure_cases(cases: Sequence[Case]) -> Iterator[tuple[str, int, Usage]]:
    """Compile ``cases`` and yield "kernel/case", architecture and usage; the worst where a kernel is launched twice."""
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    launched: list[Any] = []

    def compiling(kernel: Any, grid: object) -> Callable[..., object]:
        def launch(*arguments: object, **named: object) -> object:
            launched.append(kernel.warmup(*arguments, grid=grid, **named))
            return launched[-1]

        return launch

    JITFunction.__getitem__ = compiling
    for case in cases:
        for architecture in case.architectures:
            driver.set_active(_Driver(architecture))  # type: ignore[arg-type]
            launched.clear()
            case.call()
            if not launched:
                raise RuntimeError(f"The case {case.name} launches nothing.")
            worst: dict[str, Usage] = {}
            for compiled in launched:
                name, usage = compiled.metadata.name, measure(compiled)
                worst[name] = _worse(worst[name], usage) if name in worst else usage
            for name, usage in worst.items():
                yield f"{name.strip('_')}/{case.name}", architecture, usage


def faults(
    cases: Sequence[Case],
    measured: Sequence[tuple[str, int, Usage]],
    budgets: dict[str, dict[str, dict[str, Any]]],
    *,
    release: str = PINNED_WITH,
) -> list[str]:
    """Return a sentence for each number past budget or ceiling, and for each budget missing or left over.

    Of another ``release`` of Triton than that of the budgets, ceilings and matrix instructions count alone.
    """
    numbers = () if release != PINNED_WITH else ("registers", "spilled", "shared")
    spills = {case.name: case.spill_ceiling for case in cases}
    found = []
    for key, architecture, usage in measured:
        where = f"{key} on sm_{architecture}"
        if usage.spilled > spills[key.split("/", 1)[1]]:
            found.append(f"{where} spills {usage.spilled} bytes a thread.")
        if usage.shared > SHARED_CEILINGS[architecture]:
            found.append(f"{where} holds {usage.shared} shared bytes, more than there are.")
        pinned = budgets.get(key, {}).get(str(architecture))
        if pinned is None:
            found.append(f"{where} has no budget; pin it if {usage} is right.")
            continue
        for name, value in asdict(usage).items():
            if value != pinned[name] if name == "mma" else name in numbers and value > pinned[name]:
                found.append(f"{where}: {name} is {value!r}, the budget says {pinned[name]!r}.")
    seen = {(key, str(architecture)) for key, architecture, _ in measured}
    left = {(key, architecture) for key, pins in budgets.items() for architecture in pins} - seen
    return found + [f"{key} on sm_{architecture} is in the budget and not compiled." for key, architecture in left]


def compile_module(module: str, names: Sequence[str]) -> list[tuple[str, int, Usage]]:
    """Compile the cases of ``module`` that have these names in a process of its own, without the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(Path(__file__).resolve()), module, "--only", *names]
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if process.returncode:
        raise RuntimeError(process.stderr)
    return [
        (key, architecture, Usage(**usage)) for key, architecture, usage in map(json.loads, process.stdout.splitlines())
    ]


class _Driver:
    def __init__(self, architecture: int) -> None:
        self.architecture = architecture

    def get_current_target(self) -> object:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self) -> int:
        return self.architecture  # what is compiled is kept for each device

    def get_current_stream(self, device: int) -> int:
        return 0


def _worse(first: Usage, second: Usage) -> Usage:
    return Usage(
        max(first.registers, second.registers),
        max(first.spilled, second.spilled),
        max(first.shared, second.shared),
        max(first.mma, second.mma, key=len),
    )


def _tool(name: str) -> str:
    import triton

    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="cases to compile; by default all")
    parser.add_argument("--pin", action="store_true", help="write what was measured to budgets.json")
    options = parser.parse_args()
    if options.only and options.pin:
        parser.error("pin all cases of a module together")
    sys.path[:0] = [str(HERE), str(HERE.parents[2])]
    pins: dict[str, dict[str, dict[str, Any]]] = {}
    cases = importlib.import_module(options.module).CASES
    for key, architecture, usage in measure_cases(
        [one for one in cases if not options.only or one.name in options.only]
    ):
        print(json.dumps([key, architecture, asdict(usage)]), flush=True)
        pins.setdefault(key, {})[str(architecture)] = asdict(usage)
    if options.pin:
        budgets = json.loads(BUDGETS.read_text()) if BUDGETS.exists() else {}
        budgets[options.module] = pins
        lines = (
            f"  {json.dumps(module)}: {{\n"
            + ",\n".join(f"    {json.dumps(key)}: {json.dumps(pin)}" for key, pin in sorted(of_module.items()))
            + "\n  }"
            for module, of_module in sorted(budgets.items())
        )
        BUDGETS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    sys.modules["ahead_of_time"] = sys.modules["__main__"]
    _main()
