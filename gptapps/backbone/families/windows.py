"""Which layers look back through a window, as config.json lists them."""

from __future__ import annotations

from gptapps.backbone.families.settings import Settings

FULL, SLIDING = "full_attention", "sliding_attention"


def read_layer_kinds(settings: Settings, layers: int) -> list[str] | None:
    """Return :data:`FULL` or :data:`SLIDING` for each layer, or None where ``layer_types`` is absent.

    Raises:
        UnsupportedModelError: another kind, or not one for each layer.
    """
    kinds = settings.items("layer_types")
    if kinds is not None and (len(kinds) != layers or not set(kinds) <= {FULL, SLIDING}):
        raise settings.unsupported("layer_types", f"it should name {FULL} or {SLIDING} for each of {layers} layers")
    return kinds


def layer_kinds(windows: tuple[int | None, ...]) -> list[str]:
    """Return the ``layer_types`` that say which layers have a window."""
    return [FULL if window is None else SLIDING for window in windows]
