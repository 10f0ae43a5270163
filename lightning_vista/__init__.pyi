from .callbacks import GradientRouting as GradientRouting
from .callbacks import RoutingMonitor as RoutingMonitor
from .datamodules import ViSTaDataModule as ViSTaDataModule
from .evaluation import Evaluation as Evaluation
from .routing import ConceptRule as ConceptRule
from .routing import FieldRule as FieldRule
from .routing import FrequencyRule as FrequencyRule
from .routing import LabelRule as LabelRule
from .routing import MixtureRule as MixtureRule
from .routing import PartialLabels as PartialLabels
from .routing import Route as Route
from .routing import Router as Router
from .routing import SequenceRule as SequenceRule
from .routing import TokenRule as TokenRule
from .scorers import VLMScorer as VLMScorer
from .vista import read_problem_sets as read_problem_sets

__version__: str
