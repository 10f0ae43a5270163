"""LightningDataModules. Import them as `lightning_vista.datamodules`.

The names in `__init__.pyi` are imported when they are first used: each needs other optional packages.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
