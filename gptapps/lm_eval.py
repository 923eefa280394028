"""lm-evaluation-harness with gptapps' models: ``python -m gptapps.lm_eval --model gptapps --model_args pretrained=…``.

The options are the harness's own: ``python -m gptapps.lm_eval --help``.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gptapps.errors import GPTAppsError, ResourceError

if TYPE_CHECKING:
    from gptapps.integrations.lm_eval import GPTAppsLM

__all__ = ["GPTAppsLM", "main"]


def main() -> int:
    """Run the harness's command line, to which ``--model gptapps`` is known; return the exit code.

    0 is success, 2 a mistake that a sentence on standard error explains. The harness's own errors stay what they are.
    """
    try:
        _register()
        from lm_eval.__main__ import cli_evaluate

        cli_evaluate()
    except GPTAppsError as error:
        sys.stderr.write(f"gptapps: {error}\n")
        return 2
    return 0


def _register() -> type[GPTAppsLM]:
    if find_spec("lm_eval") is None:
        raise ResourceError(
            "lm-evaluation-harness isn't installed: run pip install 'gptapps[lm-eval]' to evaluate models with it."
        )
    from gptapps.integrations.lm_eval import GPTAppsLM

    return GPTAppsLM


def __getattr__(name: str) -> Any:
    if name == "GPTAppsLM":
        return _register()
    raise AttributeError(f"module 'gptapps.lm_eval' has no attribute {name!r}")


if __name__ == "__main__":
    sys.exit(main())
