"""The run of a scorer: journal, resuming, run folder, figures.

The names in `__init__.pyi` are imported when they are first used: the callbacks re-export `Evaluation`, and people who
only route gradients need not have the packages of the extra `vista`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
