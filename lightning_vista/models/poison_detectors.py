"""Simple detectors of poison, which extend labels to unknown images: what routing has to be compared with."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lightning_vista.optional import require

Detector = Literal["taught", "surprise"]
#: Scores all images, the highest for poison, given the rows to learn from.
Score = Callable[[np.ndarray], np.ndarray]


def extend_labels(detector: Detector, images: Tensor, labels: Tensor, known: Tensor, seed: int) -> Tensor:
    """Find unknown images that a simple detector takes for poison.

    "taught" learns to distinguish discovered from trusted images, by pixels and label: logistic regression, a random
    forest or an MLP with 64 hidden units, whichever is best. "surprise" learns classes from the trusted images alone,
    by logistic regression, and takes an image for poison if the label that it comes with is improbable.

    A half of the known images is held out to choose the classifier, by the area under its ROC curve, and the threshold,
    by the highest balanced accuracy. The classifier then learns from all known images.

    Args:
        detector: The kind of detector.
        images: Images, `(images, channels, height, width)`.
        labels: Labels that the images come with, `(images,)`.
        known: 1 for discovered poison, 0 for trusted images, -1 for unknown ones, `(images,)`.
        seed: Random seed of the split and of the classifiers.

    Returns:
        Mask of the unknown images that count as poison, `(images,)`. It is empty if fewer than two images of either
        kind are known.
    """
    learn, held_out = _halves(known.numpy(), seed)
    is_poison = known.numpy() == 1
    if len(set(is_poison[learn])) < 2 or len(set(is_poison[held_out])) < 2:
        return torch.zeros_like(known, dtype=torch.bool)
    metrics = require("sklearn.metrics", "studies")
    every = _candidates(detector, images.flatten(1).numpy(), labels, is_poison, seed)
    tried = [score(learn)[held_out] for score in every]
    areas = [metrics.roc_auc_score(is_poison[held_out], scores) for scores in tried]
    best = int(np.argmax(areas))
    threshold = _best_threshold(tried[best], is_poison[held_out])
    scores = every[best](np.concatenate([learn, held_out]))
    return torch.from_numpy(scores >= threshold) & (known == -1)


def _best_threshold(scores: np.ndarray, is_poison: np.ndarray) -> float:
    """Return the threshold with the highest balanced accuracy, in the middle between two scores."""
    false, true, thresholds = require("sklearn.metrics", "studies").roc_curve(is_poison, scores)
    best = thresholds[np.argmax(true - false)]
    return float((best + scores[scores < best].max(initial=scores.min())) / 2)


def _candidates(
    detector: Detector, pixels: np.ndarray, labels: Tensor, is_poison: np.ndarray, seed: int
) -> list[Score]:
    if detector == "surprise":
        return [partial(_surprise, pixels, labels.numpy(), is_poison)]
    # With the label among the inputs, trees and the MLP can see that it does not fit the image.
    inputs = np.concatenate([pixels, one_hot(labels).numpy()], axis=1)
    linear, trees = require("sklearn.linear_model", "studies"), require("sklearn.ensemble", "studies")
    mlp = require("sklearn.neural_network", "studies").MLPClassifier([64], max_iter=300, random_state=seed)
    models = [
        linear.LogisticRegression(class_weight="balanced", max_iter=1000),
        trees.RandomForestClassifier(200, class_weight="balanced", random_state=seed),
        mlp,
    ]
    return [partial(_taught, model, inputs, is_poison) for model in models]


def _taught(model: Any, inputs: np.ndarray, is_poison: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the probability of poison."""
    return np.asarray(_fit(model, inputs[rows], is_poison[rows]).predict_proba(inputs)[:, 1])


def _surprise(pixels: np.ndarray, labels: np.ndarray, is_poison: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the improbability of the labels for a classifier of the trusted images."""
    trusted = rows[~is_poison[rows]]
    model = require("sklearn.linear_model", "studies").LogisticRegression(max_iter=1000)
    model = _fit(model, pixels[trusted], labels[trusted])
    # A class without any trusted image has no probability: all its images are surprising.
    probabilities = np.zeros((len(labels), int(labels.max()) + 1))
    probabilities[:, model.classes_] = model.predict_proba(pixels)
    return np.asarray(1 - probabilities[np.arange(len(labels)), labels])


def _fit(model: Any, inputs: np.ndarray, targets: np.ndarray) -> Any:
    """Fit a classifier of scikit-learn; one that has not converged is judged by its held-out scores like any other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", require("sklearn.exceptions", "studies").ConvergenceWarning)
        return model.fit(inputs, targets)


def _halves(known: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the rows of known images into halves with the same share of discovered ones."""
    random = np.random.default_rng(seed)
    rows = [random.permutation(np.flatnonzero(known == code)) for code in (0, 1)]
    return np.concatenate([part[::2] for part in rows]), np.concatenate([part[1::2] for part in rows])
