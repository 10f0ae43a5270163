"""Gradient routing on any LightningModule, and the ViSTa benchmark of vision-language models.

The names that a newcomer needs first stand in `__init__.pyi`. They are imported when they are first used, so that
`import lightning_vista` is instant and needs no optional package.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
