"""Every error gptapps raises on purpose.

    GPTAppsError                    one sentence for a person; exit code 2 on the command line
    ├── OptionError                 an option, or a combination of options, that makes no sense
    ├── UnknownNameError            a task, head, metric, pipeline or model nobody registered
    ├── DuplicateNameError          a name registered twice
    ├── TaskDefinitionError         a task's TOML file; names file, key and remedy
    ├── DataError                   the input: file, line, column, empty or unreadable
    │   └── InputTooLongError       more tokens than the model can hold, with overflow="error"
    ├── ModelError                  a model that can't be used
    │   ├── ModelNotFoundError      no such directory, file, packaged model or hub id
    │   ├── ModelFetchError         the download failed, or nothing may be fetched (offline)
    │   ├── LicenceNotAcceptedError the model's terms have to be accepted by name first
    │   ├── CheckpointError         a tensor missing, surplus or misshapen; a truncated file; a pickle
    │   ├── UnsupportedModelError   a family, option or tensor type gptapps doesn't know
    │   └── CapabilityError         the model can't do what was asked; names one that can
    └── ResourceError               memory, disk or device that isn't there
        └── KernelUnavailableError  Triton was asked for and can't be had

A caller catches ``GPTAppsError`` for all of them. Errors that are bugs stay what Python raises.
"""

from __future__ import annotations


class GPTAppsError(Exception):
    """Base of every error gptapps raises on purpose; ``str(error)`` is one sentence for a person."""


class OptionError(GPTAppsError, ValueError):
    """An option, or a combination of options, that makes no sense."""


class UnknownNameError(GPTAppsError, LookupError):
    """A name that nobody registered; the message suggests the nearest one."""


class DuplicateNameError(GPTAppsError, ValueError):
    """A name that is registered already."""


class TaskDefinitionError(GPTAppsError, ValueError):
    """A task definition that can't be read; the message names file, key and remedy."""


class DataError(GPTAppsError, ValueError):
    """Input that can't be used: file, line and column where they are known."""


class InputTooLongError(DataError):
    """An input with more tokens than the model can hold."""


class ModelError(GPTAppsError):
    """A model that can't be used."""


class ModelNotFoundError(ModelError, LookupError):
    """No such directory, file, packaged model or hub id."""


class ModelFetchError(ModelError):
    """The download failed, or nothing may be fetched."""


class LicenceNotAcceptedError(ModelError):
    """The model's terms have to be accepted by name before it is fetched."""


class CheckpointError(ModelError):
    """A tensor missing, surplus or misshapen; a truncated file; a pickle."""


class UnsupportedModelError(ModelError):
    """A family, option or tensor type that gptapps doesn't know."""


class CapabilityError(ModelError):
    """The model can't do what was asked; the message names the command that brings one that can."""


class ResourceError(GPTAppsError):
    """Memory, disk or a device that isn't there."""


class KernelUnavailableError(ResourceError):
    """Triton kernels were asked for by name and can't run on these tensors."""
