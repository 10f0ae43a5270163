from lightning_vista.callbacks import GradientRouting as GradientRouting
from lightning_vista.callbacks import RoutingMonitor as RoutingMonitor
from lightning_vista.datamodules import ViSTaDataModule as ViSTaDataModule
from lightning_vista.evaluation import Evaluation as Evaluation
from lightning_vista.routing import ConceptRule as ConceptRule
from lightning_vista.routing import FieldRule as FieldRule
from lightning_vista.routing import FrequencyRule as FrequencyRule
from lightning_vista.routing import LabelRule as LabelRule
from lightning_vista.routing import MixtureRule as MixtureRule
from lightning_vista.routing import PartialLabels as PartialLabels
from lightning_vista.routing import Route as Route
from lightning_vista.routing import Router as Router
from lightning_vista.routing import SequenceRule as SequenceRule
from lightning_vista.routing import TokenRule as TokenRule
from lightning_vista.scorers import VLMScorer as VLMScorer
from lightning_vista.vista import read_problem_sets as read_problem_sets

__version__: str
