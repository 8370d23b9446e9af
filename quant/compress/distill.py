"""Distillation: a student learns from a teacher's outputs and feature maps; losses for any training loop.

Sources: Hinton and others, "Distilling the Knowledge in a Neural Network", 2015 (soft targets); Romero and others, "FitNets: Hints
for Thin Deep Nets", 2015 (hints); Zagoruyko and Komodakis, "Paying More Attention to Attention", 2017 (attention transfer).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .errors import CompressionError


def soft_targets(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """T**2 * KL(softmax(teacher / T) || softmax(student / T)), the mean over a batch.

    By the factor T**2 its gradient stays about as large as that of the cross entropy.  At a high temperature it is that of
    half the mean squared distance of logits whose mean was taken off.

    Parameters
    ----------
    student, teacher : shape (N, classes)
        Logits.  No gradient goes to the teacher.
    temperature
        Above 0.

    Raises
    ------
    CompressionError
        The shapes differ, or the temperature isn't above 0.
    """
    _check_same(student, teacher, "logits")
    if student.ndim != 2:
        raise CompressionError(f"the logits have shape {tuple(student.shape)}: soft targets take (N, classes), so flatten them")
    _check_above_zero("temperature", temperature)
    wanted = functional.log_softmax(teacher.detach() / temperature, dim=1)
    found = functional.log_softmax(student / temperature, dim=1)
    return functional.kl_div(found, wanted, reduction="batchmean", log_target=True) * temperature**2


def distillation(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float = 4.0, weight: float = 0.9) -> Tensor:
    """``weight * soft_targets + (1 - weight) * cross entropy``.

    Parameters
    ----------
    student, teacher, temperature
        As `soft_targets`.
    labels : shape (N,)
        True classes.
    weight
        From 0, the labels alone, to 1, the teacher alone.

    Raises
    ------
    CompressionError
        As `soft_targets`; the weight is out of range, or there isn't a label for each sample.
    """
    if not 0 <= weight <= 1:
        raise CompressionError(f"the weight of the soft targets must be from 0 to 1, not {weight}")
    soft = soft_targets(student, teacher, temperature=temperature)
    if labels.shape != student.shape[:1]:
        raise CompressionError(f"there are labels of shape {tuple(labels.shape)} for logits of shape {tuple(student.shape)}: give "
                               "one class for each sample")
    return weight * soft + (1 - weight) * functional.cross_entropy(student, labels)


class Hint(nn.Module):
    """A loss that brings a student's feature map to a teacher's: half the mean squared distance behind a regressor.

    The regressor is a convolution without padding, as large as the student's map exceeds the teacher's (1x1 for equal sizes), or
    a linear layer for vectors.  It is trained with the student (give its parameters to the optimizer, too) and then thrown away.

    Parameters
    ----------
    student, teacher : (C, H, W) or (C,)
        Shapes of one sample's features.
    seed
        Of the regressor's initial weights.

    Raises
    ------
    CompressionError
        The shapes are of different kinds, or the student's map is smaller than the teacher's.

    Shapes: student (N, C, H, W), teacher (N, C', H', W'), result ().
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int], *, seed: int = 0) -> None:
        super().__init__()
        self.shapes = tuple(student), tuple(teacher)
        if len(student) != len(teacher) or len(student) not in (1, 3):
            raise CompressionError(f"a hint takes two shapes (C, H, W) or (C,) of one sample, not {self.shapes[0]} and "
                                   f"{self.shapes[1]}")
        over = [ours - theirs for ours, theirs in zip(student[1:], teacher[1:], strict=True)]
        if any(one < 0 for one in over):
            raise CompressionError(f"the student's features {self.shapes[0]} are smaller than the teacher's {self.shapes[1]}: take "
                                   "an earlier layer of the student, or a later one of the teacher")
        self.regressor: nn.Module
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if over:
                self.regressor = nn.Conv2d(student[0], teacher[0], (over[0] + 1, over[1] + 1))
            else:
                self.regressor = nn.Linear(student[0], teacher[0])

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        for whose, given, shape in zip(("student", "teacher"), (student, teacher), self.shapes, strict=True):
            if tuple(given.shape[1:]) != shape:
                raise CompressionError(f"the {whose}'s features have shape {tuple(given.shape)}, but the hint was made for "
                                       f"{('N', *shape)}")
        if len(student) != len(teacher):
            raise CompressionError(f"a hint got {len(student)} samples of the student and {len(teacher)} of the teacher: give both "
                                   "the same batch")
        return functional.mse_loss(self.regressor(student), teacher.detach()) / 2


def attention_map(features: Tensor, *, power: float = 2.0) -> Tensor:
    """Where a feature map is active: the sum over channels of ``|x| ** power``, flattened, with the norm 1 for each sample.

    Parameters
    ----------
    features : shape (N, C, H, W)
    power
        Above 0; the more, the more the largest channel counts.

    Returns
    -------
    shape (N, H * W)

    Raises
    ------
    CompressionError
        The features have no positions, or the power isn't above 0.
    """
    if features.ndim != 4:
        raise CompressionError(f"features of shape {tuple(features.shape)} have no positions to attend to: attention takes "
                               "(N, C, H, W)")
    _check_above_zero("power", power)
    return functional.normalize(features.abs().pow(power).sum(dim=1).flatten(1), dim=1)


def attention_transfer(student: Tensor, teacher: Tensor, *, power: float = 2.0) -> Tensor:
    """Squared distance of two attention maps, the mean over a batch; it is to be weighted and added for several layers.

    Parameters
    ----------
    student, teacher : shape (N, C, H, W)
        Channels may differ, as they are summed up.  No gradient goes to the teacher.
    power
        As `attention_map`.

    Raises
    ------
    CompressionError
        The batch or the sizes of the maps differ.
    """
    ours, theirs = attention_map(student, power=power), attention_map(teacher.detach(), power=power)
    if (len(student), *student.shape[2:]) != (len(teacher), *teacher.shape[2:]):
        raise CompressionError(f"the student's features have shape {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}: "
                               "attention needs equal heights and widths, so choose layers behind as many strides")
    return (ours - theirs).square().sum(dim=1).mean()


@contextmanager
def features(network: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Record what modules of a network give, with gradients, while inside the context; the network is left as it was.

    Parameters
    ----------
    network
    names
        Of modules in it, as `named_modules` gives them.

    Yields
    ------
    By name, the outputs in the last forward pass of the network.

    Raises
    ------
    CompressionError
        A module isn't there; in a pass, it is called more than once or gives no tensor.
    """
    modules = dict(network.named_modules())
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in modules:
            raise CompressionError(f"{type(network).__name__} has no module `{name}` to record; it has "
                                   + ", ".join(f"`{one}`" for one in modules if one))
    found: dict[str, Tensor] = {}
    passing = False

    def begin(module: nn.Module, arguments: Any) -> None:
        nonlocal passing
        passing = True
        found.clear()

    def end(module: nn.Module, arguments: Any, output: Any) -> None:
        nonlocal passing
        passing = False

    def record(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            if not passing:  # somebody calls the module by itself
                return
            if not isinstance(output, Tensor):
                raise CompressionError(f"`{name}` gives a {type(output).__name__}, not a tensor: record a module inside of it")
            if name in found:
                raise CompressionError(f"`{name}` is called more than once in a pass, so it has no single output: record another "
                                       "module")
            found[name] = output
        return hook

    handles = [network.register_forward_pre_hook(begin),
               *(modules[name].register_forward_hook(record(name)) for name in names),
               network.register_forward_hook(end, always_call=True)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def distilled(teacher: nn.Module, images: Tensor, labels: Tensor | None = None, *, epochs: int, rate: float = 1e-3,
              batch: int = 100, temperature: float = 4.0, weight: float = 0.9, seed: int = 0) -> Callable[[nn.Module], None]:
    """A retraining (as every method here takes one) that distills: Adam, its rate lowered along a cosine.

    Parameters
    ----------
    teacher
        Gives logits; a copy in evaluation mode is used.
    images, labels : shape (N, ...), (N,)
        Without labels the teacher's outputs alone count.
    epochs, rate, batch
        Passes over the images; Adam's learning rate; images per step.
    temperature, weight
        As `distillation`.
    seed
        Of the order of the images.

    Raises
    ------
    CompressionError
        There are no images, or not a label for each; a number is out of range.
    """
    if not len(images) or (labels is not None and len(labels) != len(images)):
        raise CompressionError(f"distillation got {len(images)} images and {'no' if labels is None else len(labels)} labels: give "
                               "one image or more, and a label for each or none")
    for what, value in (("epochs", epochs), ("rate", rate), ("batch", batch), ("temperature", temperature)):
        _check_above_zero(what, value)
    teacher = copy.deepcopy(teacher).eval()
    with torch.no_grad():
        wanted = torch.cat([teacher(part) for part in torch.split(images, batch)])

    def retrain(student: nn.Module) -> None:
        draw = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(student.parameters(), rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * math.ceil(len(images) / batch))
        student.train()
        for _ in range(epochs):
            for chosen in torch.split(torch.randperm(len(images), generator=draw), batch):
                logits = student(images[chosen])
                if labels is None:
                    loss = soft_targets(logits, wanted[chosen], temperature=temperature)
                else:
                    loss = distillation(logits, wanted[chosen], labels[chosen], temperature=temperature, weight=weight)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                optimizer.step()
                schedule.step()
        student.eval()

    return retrain


def _check_same(student: Tensor, teacher: Tensor, what: str) -> None:
    if student.shape != teacher.shape:
        raise CompressionError(f"the student's {what} have shape {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}: "
                               "they must be equal")


def _check_above_zero(what: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise CompressionError(f"the {what} of distillation must be a finite number above 0, not {value}")
